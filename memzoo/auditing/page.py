"""The report as one HTML page that needs nothing else: styles and pictures inside, no scripts, no network."""

from base64 import b64encode
from html import escape

import torch
from torch import Tensor

from memzoo._version import __version__
from memzoo.auditing.curve import recovery_svg
from memzoo.auditing.pictures import is_strip, png, value_range
from memzoo.auditing.result import Findings, Judged
from memzoo.auditing.verdict import leaks, owner_text, share_text, verdict

SHOWN = 24  # pictures of one kind; the table at the end has every row
BLUE, VERMILION = "#0072B2", "#D55E00"  # distinct to every eye, and told apart by the dashes too
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.verdict { font-size: 1.2rem; border-left: 6px solid #0072B2; background: #f2f6fa; padding: .8rem 1.1rem; }
.verdict.leak { border-color: #D55E00; background: #fdf3ec; }
table { border-collapse: collapse; } th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #888; } tbody tr + tr > * { border-top: 1px solid #ddd; }
.rows { font-size: .85rem; font-variant-numeric: tabular-nums; } .rows td, .rows th { text-align: right; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: 1rem; }
.cards.wide { grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); }
figure { margin: 0; } figcaption { font-size: .8rem; color: #444; }
.three { display: flex; align-items: center; gap: .3rem; } .three span { color: #666; }
img { width: 84px; image-rendering: pixelated; border: 1px solid #bbb; display: block; }
img.strip { width: 160px; height: 24px; } svg { max-width: 100%; height: auto; }
svg text { font-size: 11px; fill: #444; } svg .grid { stroke: #ddd; }
.key { display: inline-block; width: 2.2em; vertical-align: middle; margin: 0 .3em 0 1em; }
.quiet { color: #555; font-size: .9rem; } summary { cursor: pointer; }
"""


def page(audit: Findings) -> str:
    """HTML: verdict, counts, pictures, every row, what was measured, what it does not show."""
    title = f"Leak report: {audit.title}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict{" leak" if leaks(audit) else ""}">{escape(verdict(audit))}</p>',
        *(f"<p><strong>Note.</strong> {escape(note)}</p>" for note in audit.notes),
        _counts(audit),
        _recovered(audit),
        _attractors(audit),
        _every_row(audit),
        _measured(audit),
        _limits(audit),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n{''.join(part + chr(10) for part in body if part)}</body>\n</html>\n"
    )


# Numbers ----------------------------------------------------------------------------------------------------------


def _groups(audit: Findings) -> list[tuple[str, Judged]]:
    both = (("training images", audit.members), ("controls", audit.controls))
    return [(name, group) for name, group in both if group is not None]


def _counts(audit: Findings) -> str:
    groups = _groups(audit)
    if not groups:
        return ""
    rows = [
        ("came out by iteration", [share_text(g.recovered_share, len(g.images)) for _, g in groups], audit.recovered_p),
        ("certified attractors", [share_text(g.attractor_share, len(g.images)) for _, g in groups], audit.attractor_p),
        ("median step", ["-" if g.median_step is None else f"{g.median_step:g}" for _, g in groups], None),
        ("median reconstruction error", [f"{g.error.median():.3g}" for _, g in groups], None),
    ]
    chance = audit.recovered_p is not None
    head = "".join(f"<th>{name}</th>" for name, _ in groups) + ("<th>chance (p)</th>" if chance else "")
    cells = "".join(
        f"<tr><th>{name}</th>{''.join(f'<td>{value}</td>' for value in values)}"
        f"{f'<td>{p:.2g}</td>' if p is not None else '<td></td>' if chance else ''}</tr>"
        for name, values, p in rows
    )
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{cells}</tbody></table>"
    quiet = "<p class=quiet>In brackets: Wilson intervals at 95 %."
    if chance:
        quiet += (
            " The share of controls is the false-positive rate. Chance: Fisher's exact test, one-sided. Beside it, the "
            f"classical baseline: reconstruction error alone tells members from controls with an AUC of "
            f"{audit.error_auc:.2f} (0.5 is chance)."
        )
    return f"<h2>What came out</h2>{table}{quiet}</p>{_curve(audit, groups)}"


def _curve(audit: Findings, groups: list[tuple[str, Judged]]) -> str:
    if not any(group.recovered.any() for _, group in groups):
        return ""
    looks = ((VERMILION, ""), (BLUE, "6 4"))
    lines = [(name, *look, group.recovered_at) for (name, group), look in zip(groups, looks, strict=False)]
    keys = "".join(
        f'<span class=key style="border-top: 3px {"dashed" if dash else "solid"} {colour}"></span>{name}'
        for name, colour, dash, _ in lines
    )
    return f"<p>Share that has come out by step t:{keys}</p>{recovery_svg(lines, audit.steps)}"


def _every_row(audit: Findings) -> str:
    heads = ("image", "came out at step", "from start", "distance", "attractor", "offset", "radius", "error")
    parts = []
    for name, group in _groups(audit):
        rows = "".join(
            f"<tr>{''.join(f'<td>{cell}</td>' for cell in _cells(group, i))}</tr>" for i in range(len(group.images))
        )
        parts.append(
            f"<details><summary>All {len(group.images)} {name}</summary><table class=rows><thead><tr>"
            f"{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>{rows}</tbody></table></details>"
        )
    return f"<h2>Every row</h2>{''.join(parts)}" if parts else ""


def _cells(group: Judged, i: int) -> list[str]:
    out = bool(group.recovered[i])
    return [
        str(i),
        str(int(group.recovered_at[i])) if out else "never",
        str(int(group.start[i])) if out else "-",
        f"{group.distance[i]:.3g}" if out else "-",
        "yes" if group.attractor[i] else "no",
        f"{group.offset[i]:.3g}",
        f"{group.radius[i]:.3f}" if group.radius[i].isfinite() else "-",
        f"{group.error[i]:.3g}",
    ]


# Pictures ---------------------------------------------------------------------------------------------------------


def _image(point: Tensor, audit: Findings, alt: str) -> str:
    shape = audit.starts.shape[1:]
    low, high = value_range(audit.starts if audit.members is None else audit.members.images)
    content = b64encode(png(point.reshape(shape), low, high)).decode()
    kind = " class=strip" if is_strip(shape) else ""
    return f'<img{kind} alt="{escape(alt)}" src="data:image/png;base64,{content}">'


def _recovered(audit: Findings) -> str:
    parts = []
    for (name, group), one in zip(_groups(audit), ("training image", "control"), strict=False):
        rows = group.recovered.nonzero().flatten()
        if not len(rows):
            continue
        rows = rows[group.recovered_at[rows].argsort(stable=True)]
        shown = rows[:SHOWN].tolist()
        more = (
            f"{len(shown)} of {len(rows)} are shown, the fastest first." if len(rows) > SHOWN else "The fastest first."
        )
        cards = "".join(_card(audit, group, i, one) for i in shown)
        parts.append(
            f"<h2>{name.capitalize()} that came out</h2><p class=quiet>From left to right: a start, the point that its "
            f'orbit has reached, the {one} itself. {more}</p><div class="cards wide">{cards}</div>'
        )
    return "".join(parts)


def _card(audit: Findings, group: Judged, i: int, name: str) -> str:
    step, start = int(group.recovered_at[i]), int(group.start[i])
    pictures = "<span>&rarr;</span>".join(
        _image(point, audit, alt)
        for point, alt in (
            (audit.starts[start], f"start {start}"),
            (group.reached[i], f"the orbit after {step} steps"),
            (group.images[i], f"{name} {i}"),
        )
    )
    return (
        f"<figure><div class=three>{pictures}</div><figcaption>{name} {i}: step {step}, distance "
        f"{group.distance[i]:.2g}{', an attractor' if group.attractor[i] else ''}</figcaption></figure>"
    )


def _attractors(audit: Findings) -> str:
    found, compared = audit.attractors, audit.members is not None
    rest = f"{found.resting} rest in no attractor, {found.divergent} diverge, {found.moving} still move"
    held = int((found.index >= 0).sum())
    text = f"<p>{len(found.found)} attractors hold {held} of {len(audit.starts)} starts; {rest}.</p>"
    cards = "".join(
        f"<figure>{_image(one.points[0], audit, f'attractor {i}')}<figcaption>{one.count} start{'s' * (one.count != 1)}"
        f"<br>radius {one.radius:.2f}{f', cycle of {one.period}' if one.period > 1 else ''}"
        f"<br>{owner_text(owner, compared=compared)}</figcaption></figure>"
        for i, (one, owner) in enumerate(zip(found.found[:SHOWN], audit.owner, strict=False))
    )
    more = (
        f"<p class=quiet>{SHOWN} of {len(found.found)} are shown; all lie beside this page in the folder "
        "<code>attractors</code>.</p>"
        if len(found.found) > SHOWN
        else ""
    )
    return f"<h2>Where the starts end</h2>{text}<div class=cards>{cards}</div>{more}"


# Words ------------------------------------------------------------------------------------------------------------


def _measured(audit: Findings) -> str:
    low, high = value_range(audit.starts if audit.members is None else audit.members.images)
    shape = " x ".join(map(str, audit.starts.shape[1:]))
    rows = [
        ("eps, distance in L2", f"{audit.eps:.4g}, {audit.eps_from}"),
        ("starts", f"{len(audit.starts)} ({audit.starts_from}), seed {audit.seed}; {audit.left_out} left out"),
        ("iterations", f"{audit.steps}; five times as many for attractors"),
        ("points", f"{shape}; pictures show {low:.3g} as black and {high:.3g} as white"),
        ("versions", f"memzoo {__version__}, torch {torch.__version__}"),
    ]
    table = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    what = (
        "The network f is applied to each start again and again. An image <em>came out</em> when some orbit is within "
        "eps of it at some step. It is a <em>certified attractor</em> when a fixed point of its own lies within eps "
        "of it, at which the Jacobian's spectral radius is below 1 beyond its error bound. "
        if audit.members is not None
        else "The network f is applied to each start again and again. Where orbits end, the Jacobian's spectral radius "
        "is below 1 beyond its error bound: an attractor. "
    )
    return f"<h2>What was measured</h2><p>{what}</p><table><tbody>{table}</tbody></table>"


def _limits(audit: Findings) -> str:
    points = ["Attractors that no start reached are not here."]
    if audit.members is None:
        points.append("Without the training images no attractor is known to be one of them.")
    else:
        points = [
            "An image that did not come out from these starts may come out from others, or by another attack: absence "
            "here is no proof of privacy.",
            "Intervals and p-values speak of images like these members and controls. If the two groups differ in kind, "
            "so may their shares, without any memory of the network.",
            *points,
        ]
    return f"<h2>What this does not show</h2><ul>{''.join(f'<li>{point}</li>' for point in points)}</ul>"
