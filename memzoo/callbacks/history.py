"""A callback's history as a table, as a data frame and as a picture; its last certificates as a table."""

import math
from typing import Any

from memzoo.dynamics import Certificates

COLUMNS = (  # heading, key, format
    ("step", "step", "d"),
    ("loss", "loss", ".1e"),
    ("attractors", "fraction", ".0%"),
    ("recovered", "recovered", ".0%"),
    ("converged", "converged", ".1%"),
    ("contracting", "contracting", ".0%"),
    ("radius median", "radius_median", ".3f"),
    ("max", "radius_max", ".3f"),
    ("stretch", "sigma_median", ".3f"),
    ("residual", "residual", ".1e"),
)
BLUE, ORANGE, RED, SKY, BLACK = "#0072B2", "#E69F00", "#D55E00", "#56B4E9", "#000000"  # distinct to every eye
SHARES = (("fraction", "certified attractors"), ("recovered", "recovered"), ("converged", "starts converged"))


def closing_table(history: list[dict[str, float]], name: str, title: str, *, most: int = 12) -> str:
    """One line a measurement, evenly thinned, the last one always kept."""
    step = max(1, math.ceil(len(history) / most))
    shown = history[::-1][::step][::-1]
    columns = [(h, _key(name, key), kind) for h, key, kind in COLUMNS if _key(name, key) in history[-1]]
    lines = [[heading for heading, _, _ in columns]]
    lines += [[format(row.get(key, math.nan), kind) for _, key, kind in columns] for row in shown]
    return "\n".join([f"{title}:", *_aligned(lines)])


def _key(name: str, key: str) -> str:
    return key if key in ("step", "loss") else f"{name}/{key}"


def _aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return [text[0], "-" * len(text[0]), *text[1:]]


def examples_table(certificates: Certificates, examples: list[int]) -> str:
    """A line an example: its verdict, with whom it shares its limit, how far that is and how strongly it attracts."""
    lines = [["example", "attractor", "shares its limit with", "offset", "radius", "residual"]]
    groups = certificates.limit_of.tolist()
    for row, example in enumerate(examples):
        others = [str(examples[i]) for i, group in enumerate(groups) if group == groups[row] and i != row]
        sharing = ", ".join(others[:4]) + (", ..." if len(others) > 4 else "")
        lines.append(
            [
                str(example),
                "yes" if certificates.attractor[row] else "no",
                sharing or "-",
                f"{certificates.offset[row]:.3g}",
                f"{certificates.radius[row]:.3f}",
                f"{certificates.residual[row]:.1e}",
            ]
        )
    distinct = len(set(groups))
    head = (
        f"{int(certificates.attractor.sum())} of {len(examples)} are attractors, eps = {certificates.eps:.3g}; "
        f"they end at {distinct} distinct limit{'' if distinct == 1 else 's'}:"
    )
    return "\n".join([head, *_aligned(lines)])


def to_pandas(history: list[dict[str, float]]) -> Any:
    """A :class:`pandas.DataFrame`, a row a measurement."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("the history as a data frame needs pandas; pip install pandas.") from error
    return pd.DataFrame(history)


def plot_history(history: list[dict[str, float]], name: str) -> Any:
    """Figure over optimizer steps: shares, spectral radius with its quartiles, and the loss."""
    import matplotlib.pyplot as plt

    shares = [(key, label) for key, label in SHARES if history and f"{name}/{key}" in history[-1]]
    figure, panels = plt.subplots(
        3 if shares else 2, 1, sharex=True, figsize=(6, 7 if shares else 5), layout="constrained"
    )
    if shares:
        _draw_shares(panels[0], history, [(f"{name}/{key}", label) for key, label in shares])
    _draw_radius(panels[-2], history, name)
    losses = [(row["step"], row["loss"]) for row in history if row["loss"] > 0]
    if losses:
        panels[-1].semilogy(*zip(*losses, strict=True), color=BLACK, marker="o", ms=4)
    panels[-1].set(xlabel="optimizer steps", ylabel="loss")
    return figure


def _draw_shares(axes: Any, history: list[dict[str, float]], shares: list[tuple[str, str]]) -> None:
    steps = [row["step"] for row in history]
    for colour, width, (key, label) in zip((BLUE, ORANGE, BLACK), (5, 2.5, 1), shares, strict=True):  # often coincide
        axes.plot(steps, [row[key] for row in history], color=colour, lw=width, marker="o", ms=width + 2, label=label)
    axes.set(ylabel="share", ylim=(-0.03, 1.03))
    axes.legend(frameon=False)


def _draw_radius(axes: Any, history: list[dict[str, float]], name: str) -> None:
    steps = [row["step"] for row in history]
    for colour, key, label in ((RED, "radius_max", "largest"), (SKY, "radius_median", "median")):
        axes.plot(steps, [row[f"{name}/{key}"] for row in history], color=colour, marker="o", ms=4, label=label)
    low, high = ([row.get(f"{name}/radius_{q}", math.nan) for row in history] for q in ("q25", "q75"))
    axes.fill_between(steps, low, high, color=SKY, alpha=0.3, lw=0, label="quartiles")
    axes.axhline(1, color="0.6", lw=1, ls="--")
    axes.set(ylabel="spectral radius")
    axes.legend(frameon=False)
