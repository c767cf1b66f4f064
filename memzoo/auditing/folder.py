"""The report as a folder: written aside and renamed, and never over something else."""

from pathlib import Path

from memzoo.auditing.page import page
from memzoo.auditing.pictures import png, value_range
from memzoo.auditing.record import picture_names, to_json
from memzoo.auditing.result import Findings
from memzoo.zoo.registry import write_aside

PAGE, NUMBERS, PICTURES = "report.html", "report.json", "attractors"


def save(audit: Findings, folder: Path) -> Path:
    """Write page, numbers and pictures; returns the folder."""
    folder = folder.absolute()
    check_free(folder)
    low, high = value_range(audit.starts if audit.members is None else audit.members.images)
    with write_aside(folder) as aside:
        (aside / PAGE).write_text(page(audit), encoding="utf-8")
        (aside / NUMBERS).write_text(to_json(audit), encoding="utf-8")
        (aside / PICTURES).mkdir()
        for one, names in zip(audit.attractors.found, picture_names(audit), strict=True):
            for point, name in zip(one.points, names, strict=True):
                (aside / name).write_bytes(png(point.reshape(audit.starts.shape[1:]), low, high))
    return folder


def check_free(folder: Path) -> None:
    """Raise where the report would take the place of something that is none."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, and a report is a folder; give another name.")
    other = sorted({path.name for path in folder.iterdir()} - {PAGE, NUMBERS, PICTURES})
    if other:
        raise FileExistsError(
            f"{folder} holds {other[0]!r}, which is of no report, and is kept as it is; give another folder."
        )
