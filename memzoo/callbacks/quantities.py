"""The measured quantities, one row each: logging, tables, plots, documentation and tests derive from this table.

A new quantity needs a row here, its value in ``combine_parts`` of the callback that measures it, and its entry in the
docstring of that callback.
"""

import math
from dataclasses import dataclass
from typing import Literal

BOTH = ("attractor", "contraction")
"""The callbacks that log quantities, by the names that they have by default."""
QUARTILES = ("radius_q25", "radius_q75")
"""Keys of the quartiles of the spectral radius: they are kept in the history for the plot, and not logged."""


@dataclass(frozen=True)
class Quantity:
    """Describe one measured quantity."""

    key: str
    """Last part of the key that is logged; the first part is the name of the callback."""
    heading: str
    """Heading of its column in ``table()``."""
    format: str
    """Format of its values in ``table()``."""
    description: str
    """One line, with which the entry in the docstring of each callback begins."""
    logged_by: tuple[str, ...]
    progress_bar: tuple[str, ...] = ()
    """Those callbacks that show it in the progress bar."""
    if_not_finite: float = math.nan
    """Value for a network whose parameters or outputs are not finite."""
    panel: Literal["share", "radius"] | None = None
    """Panel of ``plot()``; None if it is not drawn."""
    label: str = ""
    """Label of its curve in ``plot()``."""
    share_of_examples: bool = False
    """Whether examples that could not be measured count in its denominator."""


QUANTITIES = (
    Quantity(
        "fraction",
        "attractors",
        ".0%",
        "Share of tracked examples certified as attractors",
        logged_by=("attractor",),
        progress_bar=("attractor",),
        if_not_finite=0.0,
        panel="share",
        label="certified attractors",
        share_of_examples=True,
    ),
    Quantity(
        "recovered",
        "recovered",
        ".0%",
        "Share of tracked examples within ``eps`` of some start after ``steps`` iterations",
        logged_by=("attractor",),
        progress_bar=("attractor",),
        if_not_finite=0.0,
        panel="share",
        label="recovered",
        share_of_examples=True,
    ),
    Quantity(
        "ever_recovered",
        "ever",
        ".0%",
        "Share of tracked examples within ``eps`` of some start after ``steps`` iterations or fewer",
        logged_by=("attractor",),
        if_not_finite=0.0,
        panel="share",
        label="ever recovered",
        share_of_examples=True,
    ),
    Quantity(
        "converged",
        "converged",
        ".1%",
        "Share of starts that end within ``eps`` of a tracked example",
        logged_by=("attractor",),
        if_not_finite=0.0,
        panel="share",
        label="starts converged",
    ),
    Quantity(
        "contracting",
        "contracting",
        ".0%",
        "Share of tracked examples whose spectral radius is below 1 beyond its error bound",
        logged_by=("contraction",),
        if_not_finite=0.0,
        share_of_examples=True,
    ),
    Quantity(
        "measured",
        "measured",
        ".0%",
        "Share of tracked examples that could be measured",
        logged_by=BOTH,
    ),
    Quantity(
        "radius_median",
        "radius median",
        ".3f",
        "Median spectral radius at the tracked examples",
        logged_by=BOTH,
        panel="radius",
        label="median",
    ),
    Quantity(
        "radius_max",
        "max",
        ".3f",
        "Largest spectral radius at the tracked examples",
        logged_by=BOTH,
        progress_bar=("contraction",),
        panel="radius",
        label="largest",
    ),
    Quantity(
        "sigma_median",
        "stretch",
        ".3f",
        "Median over the tracked examples of the largest singular value",
        logged_by=("contraction",),
    ),
    Quantity(
        "residual",
        "residual",
        ".1e",
        r"Median relative residual :math:`\|f(x) - x\| / \|x\|` of the tracked examples",
        logged_by=BOTH,
    ),
)


def quantities_of(kind: str) -> tuple[Quantity, ...]:
    """Return the quantities that a callback logs, in the order of the table."""
    return tuple(quantity for quantity in QUANTITIES if kind in quantity.logged_by)
