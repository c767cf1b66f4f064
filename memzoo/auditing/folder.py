"""Save a report as a folder: written aside, then renamed, and never over something else."""

from pathlib import Path

from memzoo._reading import list_folder
from memzoo.auditing.page import render_page
from memzoo.auditing.pictures import encode_png
from memzoo.auditing.record import name_pictures, to_json
from memzoo.auditing.result import Findings
from memzoo.errors import AlreadyExistsError
from memzoo.zoo.registry import explain_write_errors, write_aside

PAGE = "report.html"
NUMBERS = "report.json"
PICTURES = "attractors"


def save_report(audit: Findings, folder: Path) -> Path:
    """Write the page, the numbers and the pictures of all attractors; return the absolute path of the folder."""
    folder = folder.absolute()
    check_free(folder)
    low, high = audit.value_range
    # The new folder takes the place of the old one only when all files are written.
    with explain_write_errors(folder), write_aside(folder) as aside:
        (aside / PAGE).write_text(render_page(audit), encoding="utf-8")
        (aside / NUMBERS).write_text(to_json(audit), encoding="utf-8")
        (aside / PICTURES).mkdir()
        for attractor, names in zip(audit.attractors.found, name_pictures(audit), strict=True):
            for point, name in zip(attractor.points, names, strict=True):
                image = point.reshape(audit.starts.shape[1:])
                (aside / name).write_bytes(encode_png(image, low, high))
    return folder


def check_free(folder: Path) -> None:
    """Raise ``AlreadyExistsError`` if the report would replace something that is no report."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise AlreadyExistsError(f"{folder} is a file, and a report is a folder; give another name.")
    # An older report has these names and no other; it may be replaced.
    others = sorted({path.name for path in list_folder(folder)} - {PAGE, NUMBERS, PICTURES})
    if others:
        raise AlreadyExistsError(
            f"{folder} holds {others[0]!r}, which is of no report, and is kept as it is; give another folder."
        )
