"""All figures on one HTML page that needs nothing else: pictures and styles inside, no scripts, no network."""

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path

from memzoo._version import __version__
from memzoo.errors import MemzooError
from memzoo.figures.catalogue import FIGURES
from memzoo.figures.engine import Reproduction, Row
from memzoo.zoo import Entry, info
from memzoo.zoo.cards import describe_training, list_settings

PAGE = "index.html"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 64rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 3rem; } h3 { font-size: 1.05rem; margin-top: 2.6rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #888; } tbody tr + tr > * { border-top: 1px solid #ddd; }
td.number { font-variant-numeric: tabular-nums; }
.holds { color: #00604a; } .short { color: #a33e00; font-weight: 600; } .reported { color: #555; }
.summary { font-size: 1.1rem; border-left: 6px solid #0072B2; background: #f2f6fa; padding: .8rem 1.1rem; }
.failed { border-left: 6px solid #D55E00; background: #fdf3ec; padding: .8rem 1.1rem; }
.note { border-left: 4px solid #E69F00; padding-left: .8rem; } .quiet { color: #555; font-size: .9rem; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; } figcaption { font-size: .9rem; color: #444; }
code { font: .85rem ui-monospace, monospace; overflow-wrap: anywhere; } pre { overflow-x: auto; background: #f6f6f6;
  padding: .6rem; } dt { font-weight: 600; margin-top: 1.2rem; } dd { margin: .2rem 0 0 1rem; }
.wide { overflow-x: auto; }
"""
CLASS: dict[bool | None, str] = {True: "holds", False: "short", None: "reported"}
VERDICT: dict[bool | None, str] = {True: "holds", False: "falls short", None: "reported"}


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
    title = "Memorization in overparameterized autoencoders, reproduced"
    beyond = [one for one in results if _is_beyond(one)]
    paper = [one for one in results if one not in beyond]
    ids = list(dict.fromkeys(name for one in results for name in one.checkpoints))
    body = [
        f"<h1>{title}</h1>",
        _render_summary(results),
        _render_overview(results),
        *(
            ["<h2>Figures and tables of the paper</h2>", *(_render_section(one, folder) for one in paper)]
            if paper
            else []
        ),
        *(["<h2>Beyond the paper</h2>", *(_render_section(one, folder) for one in beyond)] if beyond else []),
        "<h2>Checkpoints</h2>",
        f"<dl>{''.join(map(_render_checkpoint, ids))}</dl>",
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n{''.join(part + chr(10) for part in body)}</body>\n</html>\n"
    )


def _is_beyond(result: Reproduction) -> bool:
    return result.figure in FIGURES and FIGURES[result.figure].beyond


def _render_summary(results: Sequence[Reproduction]) -> str:
    count = Counter(row.holds for one in results for row in one.rows)
    failed = [one.figure for one in results if one.failed]
    made = f" {len(failed)} could not be made: {', '.join(failed)}." if failed else ""
    asked = count[True] + count[False]
    return (
        f'<p class="summary">{len(results)} figures and tables. Of {asked} requirements {count[True]} hold and '
        f"{count[False]} fall short; {count[None]} further numbers are reported, nothing is asked of them.{made}</p>"
        '<p class="quiet">Required is what the paper claims, else what the checkpoint states of itself. Numbers were '
        "measured for this page, from the weights, unless a row says otherwise. The paper: Radhakrishnan, Yang, "
        'Belkin, Uhler, <a href="https://arxiv.org/abs/1810.10333">arXiv:1810.10333</a>. '
        f"memzoo {__version__}, torch {version('torch')}.</p>"
    )


def _render_overview(results: Sequence[Reproduction]) -> str:
    rows = []
    for one in results:
        count = Counter(row.holds for row in one.rows)
        asked = count[True] + count[False]
        if one.failed:
            verdict = '<span class="short">not made</span>'
        elif count[False]:
            verdict = f'<span class="short">falls short in {count[False]} of {asked}</span>'
        elif count[True]:
            verdict = f'<span class="holds">holds ({count[True]})</span>'
        else:
            verdict = '<span class="reported">reported</span>'
        name, _, rest = one.title.partition(": ")
        name = name if rest else one.figure
        link = f'<a href="#{one.figure}">{escape(name)}</a>'
        rows.append(f"<tr><td>{link}</td><td>{escape(rest or one.title)}</td><td>{verdict}</td></tr>")
    head = "<tr><th>figure</th><th>what it shows</th><th>verdict</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _render_section(one: Reproduction, folder: Path) -> str:
    parts = [f'<h3 id="{one.figure}">{escape(one.title)}</h3>']
    if one.failed:
        parts.append(f'<p class="failed"><strong>Not made.</strong> {escape(one.failed)}</p>')
    picture = folder / f"{one.figure}.png"
    if not one.failed and picture.is_file():
        content = b64encode(picture.read_bytes()).decode()
        parts.append(
            f'<figure><img alt="{escape(one.title)}" src="data:image/png;base64,{content}">'
            f"<figcaption>{escape(one.caption)}</figcaption></figure>"
        )
    if one.rows:
        head = "<tr><th>quantity</th><th>paper</th><th>ours</th><th>needed</th><th>holds</th><th>checkpoint</th></tr>"
        rows = "".join(map(_render_row, one.rows))
        parts.append(f'<div class="wide"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>')
    parts += [f'<p class="note">{escape(note)}</p>' for note in one.notes]
    made = "" if one.failed else f"; made in {one.seconds:.0f} s"
    parts.append(f'<p class="quiet">Again: <code>memzoo reproduce {one.figure} --out DIR</code>{made}</p>')
    return "\n".join(parts)


def _render_row(row: Row) -> str:
    link = f'<a href="#{_name_anchor(row.checkpoint)}">{escape(row.checkpoint)}</a>' if row.checkpoint else ""
    return (
        f'<tr><td>{escape(row.quantity)}</td><td>{escape(row.paper)}</td><td class="number">{escape(row.value)}</td>'
        f'<td>{escape(row.needed)}</td><td class="{CLASS[row.holds]}">{VERDICT[row.holds]}</td><td>{link}</td></tr>'
    )


def _name_anchor(name: str) -> str:
    return f"checkpoint-{escape(name, quote=True)}"


def _render_checkpoint(name: str) -> str:
    """Render the recipe of a checkpoint, the commands for it, and its address on the Hub."""
    try:
        entry = info(name)
    except MemzooError:  # one of the user's own
        return f'<dt id="{_name_anchor(name)}">{escape(name)}</dt><dd>Not a checkpoint of the registry.</dd>'
    where = ""
    if entry.hub is not None:
        address = f"https://huggingface.co/{entry.hub.repository}/tree/{entry.hub.commit}"
        where = f'<br>On the Hub: <a href="{escape(address)}">{escape(entry.hub.repository)}</a>'
    commands = "\n".join(f"memzoo {command} {entry.id}" for command in ("info", "verify", "train"))
    return (
        f'<dt id="{_name_anchor(name)}">{escape(entry.id)}</dt>'
        f"<dd>{escape(entry.title)}.<br>{escape(_describe_recipe(entry))}{where}"
        f"<pre><code>{escape(commands)}</code></pre></dd>"
    )


def _describe_recipe(entry: Entry) -> str:
    recipe = entry.recipe
    took = "" if recipe.wall_time_s is None else f", {recipe.wall_time_s:g} s"
    how = " ".join(describe_training(entry).split())
    return f"{entry.architecture} with {list_settings(entry.config)}. {how}; seed {recipe.seed}{took}."
