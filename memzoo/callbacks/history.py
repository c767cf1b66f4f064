"""A callback's history as a table and as a picture."""

import math
from typing import Any

COLUMNS = (  # heading, key, format
    ("step", "step", "d"),
    ("loss", "loss", ".1e"),
    ("attractors", "fraction", ".0%"),
    ("recovered", "recovered", ".0%"),
    ("converged", "converged", ".1%"),
    ("radius median", "radius_median", ".3f"),
    ("max", "radius_max", ".3f"),
    ("residual", "residual", ".1e"),
)


def closing_table(history: list[dict[str, float]], name: str, about: str, *, most: int = 12) -> str:
    """One line a measurement, evenly thinned, the last one always kept."""
    step = max(1, math.ceil(len(history) / most))
    shown = history[::-1][::step][::-1]
    lines = [[heading for heading, _, _ in COLUMNS]]
    lines += [[format(row.get(f"{name}/{key}", row.get(key)), kind) for _, key, kind in COLUMNS] for row in shown]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    text.insert(1, "-" * len(text[0]))
    return "\n".join([f"Attractors among {about}:", *text])


def plot_history(history: list[dict[str, float]], name: str) -> Any:
    """Figure with two panels over optimizer steps: shares above, spectral radius below."""
    import matplotlib.pyplot as plt

    steps = [row["step"] for row in history]
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(6, 5), layout="constrained")
    shares = (("fraction", "certified attractors"), ("recovered", "recovered"), ("converged", "starts converged"))
    colours = ("#0072B2", "#E69F00", "#000000")  # distinct to every eye
    for colour, width, (key, label) in zip(colours, (5, 2.5, 1), shares, strict=True):  # curves often coincide
        values = [row[f"{name}/{key}"] for row in history]
        above.plot(steps, values, color=colour, lw=width, marker="o", ms=width + 2, label=label)
    above.set(ylabel="share", ylim=(-0.03, 1.03))
    above.legend(frameon=False)
    for colour, key, label in (("#D55E00", "radius_max", "largest"), ("#56B4E9", "radius_median", "median")):
        below.plot(steps, [row[f"{name}/{key}"] for row in history], color=colour, marker="o", ms=4, label=label)
    below.axhline(1, color="0.6", lw=1, ls="--")
    below.set(xlabel="optimizer steps", ylabel="spectral radius")
    below.legend(frameon=False)
    return figure
