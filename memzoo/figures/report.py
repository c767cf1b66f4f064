"""Render all figures on one HTML page that needs nothing else: pictures and styles inside, no scripts, no network.

The text of the page is in ``report.html.jinja2``.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from memzoo._templates import read_templates
from memzoo._version import __version__
from memzoo.errors import MemzooError
from memzoo.figures.catalogue import FIGURES
from memzoo.figures.engine import Reproduction
from memzoo.zoo import Entry, info
from memzoo.zoo.cards import describe_training, list_settings

PAGE = "index.html"
TITLE = "Memorization in overparameterized autoencoders, reproduced"
TEMPLATES = read_templates(Path(__file__).parent)


def write_report(results: Sequence[Reproduction], folder: str | Path) -> Path:
    """Write the page into the folder of the pictures; the page contains the pictures.

    Args:
        results: Results of :func:`memzoo.figures.reproduce_all`, whose pictures are saved in ``folder``.
        folder: Folder of the pictures.

    Returns:
        ``folder/index.html``, replaced in one step.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PAGE
    aside = path.with_suffix(".part")
    aside.write_text(render_page(results, folder), encoding="utf-8")
    return aside.replace(path)


def render_page(results: Sequence[Reproduction], folder: Path) -> str:
    """Render the page: counts, the table of all figures, each figure with its rows, each checkpoint with its recipe."""
    beyond = [one for one in results if _is_beyond(one)]
    paper = [one for one in results if not _is_beyond(one)]
    names = dict.fromkeys(name for one in results for name in one.checkpoints)  # each once, in order
    return TEMPLATES.get_template("report.html.jinja2").render(
        title=TITLE,
        results=results,
        parts={"Figures and tables of the paper": paper, "Beyond the paper": beyond},
        counts={one.figure: _count_rows([one]) for one in results},
        total=_count_rows(results),
        failed=[one.figure for one in results if one.failed],
        pictures=_encode_pictures(results, folder),
        checkpoints=[_describe_checkpoint(name) for name in names],
        memzoo_version=__version__,
        torch_version=version("torch"),
    )


def _is_beyond(result: Reproduction) -> bool:
    """Tell whether the paper has no such figure."""
    return result.figure in FIGURES and FIGURES[result.figure].beyond


def _count_rows(results: Iterable[Reproduction]) -> dict[str, int]:
    """Count the rows that hold, those that fall short, and those of which nothing is asked."""
    count = Counter(row.holds for one in results for row in one.rows)
    return {"hold": count[True], "short": count[False], "reported": count[None]}


def _encode_pictures(results: Iterable[Reproduction], folder: Path) -> dict[str, str]:
    """Encode the picture of each figure that has one, as the content of a ``data:`` address."""
    paths = {one.figure: folder / f"{one.figure}.png" for one in results if not one.failed}
    return {name: b64encode(path.read_bytes()).decode() for name, path in paths.items() if path.is_file()}


def _describe_checkpoint(name: str) -> tuple[str, Entry | None, str]:
    """Return a checkpoint's name, its entry, and its recipe in words; without an entry if it is the user's own."""
    try:
        entry = info(name)
    except MemzooError:
        return name, None, ""
    return name, entry, _describe_recipe(entry)


def _describe_recipe(entry: Entry) -> str:
    """Describe how the weights of a checkpoint were made."""
    recipe = entry.recipe
    took = "" if recipe.wall_time_s is None else f", {recipe.wall_time_s:g} s"
    how = " ".join(describe_training(entry).split())
    return f"{entry.architecture} with {list_settings(entry.config)}. {how}; seed {recipe.seed}{took}."
