"""Draw the share of images that have come out of a network against the number of iterations."""

from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Int
from torch import Tensor

from memzoo.plotting import BLUE, VERMILION

SIZE = (7.0, 2.5)
"""Width and height in inches."""
TICKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
STYLES = ((VERMILION, "solid"), (BLUE, "dashed"))
"""Colour and dash pattern of each group: the colours differ to every eye, and the dashes differ without colour."""


def draw_recovery(groups: dict[str, Int[Tensor, " n"]], steps: int) -> Any:
    """Draw the share of each group that is recovered by step t, against t on a logarithmic axis.

    Args:
        groups: At most two groups by name, with the step at which each image is recovered, -1 for never.
        steps: Last step.

    Returns:
        A figure of matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for (name, recovered_at), (colour, dashes) in zip(groups.items(), STYLES, strict=False):
        arrivals, counts = np.unique(recovered_at[recovered_at >= 0].numpy(), return_counts=True)
        shares = [0.0, *counts.cumsum() / len(recovered_at)]
        axes.step([0, *arrivals, steps], [*shares, shares[-1]], where="post", label=name, color=colour, ls=dashes, lw=2)
    # The axis is logarithmic in 1 + t, so that it begins at t = 0.
    axes.set_xscale("function", functions=(np.log1p, np.expm1))
    axes.set_xlim(0, max(steps, 1))
    axes.set_xticks([t for t in TICKS if t <= steps])
    axes.set_xlabel("step t")
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.tick_params(length=0)
    axes.grid(axis="y", color="0.87")
    axes.spines[:].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    return figure


def render_recovery(groups: dict[str, Int[Tensor, " n"]], steps: int) -> str:
    """Return the drawing of :func:`draw_recovery` as an ``svg`` element for a page, equal for equal numbers."""
    from matplotlib import style

    file = BytesIO()
    without_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The style of the user has no part in a report. Text stays text, which a reader can search; the salt fixes the
    # names of clip paths.
    with style.context(["default", {"svg.fonttype": "none", "svg.hashsalt": "memzoo"}]):
        draw_recovery(groups, steps).savefig(file, format="svg", metadata=without_metadata)
    drawing = ElementTree.fromstring(file.getvalue())
    for element in drawing.iter():
        element.tag = element.tag.rpartition("}")[2]  # within HTML the names need no namespace
    drawing.set("role", "img")
    drawing.set("aria-label", "share that has come out by step t")
    return ElementTree.tostring(drawing, encoding="unicode")
