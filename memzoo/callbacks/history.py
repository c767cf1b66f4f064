"""Show the history of a callback as a table, as a data frame and as a figure, and its certificates as a table."""

import math
from collections.abc import Sequence
from typing import Any

from memzoo.callbacks.quantities import QUANTITIES, QUARTILES, Quantity
from memzoo.callbacks.reporting import Row
from memzoo.dynamics import Certificates
from memzoo.dynamics.orbits import format_eps
from memzoo.errors import DependencyMissingError
from memzoo.plotting import draw_history

MOST_LINES = 12
NOTE = "* of the rows that came by before the first epoch ended"
MOST_NAMED = 4
"""Examples that are named beside one that shares its limit with them."""
EXAMPLE_HEADINGS = ("example", "attractor", "shares its limit with", "offset", "radius", "residual")


def format_history(
    history: list[Row],
    name: str,
    title: str,
    quantities: Sequence[Quantity] = QUANTITIES,
    *,
    most: int = MOST_LINES,
) -> str:
    """Format one line for each measurement, evenly thinned, with the last one always kept.

    Args:
        history: At least one measurement.
        name: First part of the keys.
        title: First line of the text.
        quantities: Columns beside step and loss, if the last measurement has them.
        most: Largest number of measurements that are shown.
    """
    columns = [("step", "step", "d"), ("loss", "loss", ".1e")]
    for quantity in quantities:
        key = f"{name}/{quantity.key}"
        if key in history[-1]:
            columns.append((quantity.heading, key, quantity.format))
    lines = [[heading for heading, _, _ in columns]]
    stride = max(1, math.ceil(len(history) / most))
    shown = history[::-1][::stride][::-1]  # counted from the end, so that the last one is among them
    lines += [[format(row.get(key, math.nan), kind) for _, key, kind in columns] for row in shown]
    note = []
    if any("provisional" in row for row in shown):
        note = [NOTE]
        for line, mark in zip(lines, [" ", *("*" if "provisional" in row else " " for row in shown)], strict=True):
            line[0] += mark
    return "\n".join([f"{title}:", *_align(lines), *note])


def _align(lines: list[list[str]]) -> list[str]:
    """Align cells to the right, with a rule under the first line."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text: list[str] = []
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        text.append("  ".join(cells))
    return [text[0], "-" * len(text[0]), *text[1:]]


def format_certificates(certificates: Certificates, examples: list[int]) -> str:
    """Format a line for each example: its verdict, which examples share its limit, its offset and its attraction."""
    lines: list[list[str]] = [list(EXAMPLE_HEADINGS)]
    groups: list[int] = certificates.limit_of.tolist()
    for row, example in enumerate(examples):
        others = [str(examples[i]) for i, group in enumerate(groups) if group == groups[row] and i != row]
        named = ", ".join(others[:MOST_NAMED])
        if len(others) > MOST_NAMED:
            named += ", ..."
        lines.append(
            [
                str(example),
                "yes" if certificates.attractor[row] else "no",
                named or "-",
                f"{certificates.offset[row]:.3g}",
                f"{certificates.radius[row]:.3f}",
                f"{certificates.residual[row]:.1e}",
            ]
        )
    followed = (~certificates.ruled_out).tolist()
    limits = len({group for group, known in zip(groups, followed, strict=True) if known})
    count = "they end" if all(followed) else f"{sum(followed)} end"
    ends = f"{count} at {limits} distinct limit{'' if limits == 1 else 's'}"
    if not all(followed):
        ends += f", {len(followed) - sum(followed)} have no fixed point within eps and were not followed"
    head = (
        f"{int(certificates.attractor.sum())} of {len(examples)} are attractors, eps = {format_eps(certificates.eps)}; "
        f"{ends}:"
    )
    return "\n".join([head, *_align(lines)])


def to_pandas(history: list[Row]) -> Any:
    """Return a :class:`pandas.DataFrame` with a row for each measurement.

    Raises:
        DependencyMissingError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise DependencyMissingError("the history as a data frame needs pandas; pip install pandas.") from error
    return pd.DataFrame(history)


def plot_history(history: list[Row], name: str, quantities: Sequence[Quantity] = QUANTITIES) -> Any:
    """Draw the history against optimizer steps: shares, spectral radius with its quartiles, and the loss."""

    def values_of(key: str) -> list[float]:
        return [row.get(f"{name}/{key}", math.nan) for row in history]

    shares = [row for row in quantities if row.panel == "share" and history and f"{name}/{row.key}" in history[-1]]
    # the largest radius comes last in the table and is drawn first, so that the median lies on top
    radii = [row for row in reversed(quantities) if row.panel == "radius"]
    lower, upper = QUARTILES
    return draw_history(
        [row["step"] for row in history],
        shares=[(row.label, values_of(row.key)) for row in shares],
        radii=[(row.label, values_of(row.key)) for row in radii],
        quartiles=(values_of(lower), values_of(upper)),
        losses=[row["loss"] for row in history],
    )
