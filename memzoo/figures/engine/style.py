"""The common look of the pictures: column width, small sans-serif text, colours that every eye tells apart."""

from typing import Any

WIDTH = 7.2
"""Of a picture across both columns, in inches; 3.5 of one across a single column."""
COLUMN = 3.5
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
"""The colours of Okabe and Ito."""
GREY = "#999999"
SERIES = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
MARKS = ("o", "s", "^", "D", "v", "P", "X")
"""Curves differ by mark too, for print without colour."""


def tidy(axes: Any) -> None:
    """Small ticks and labels, no frame above and to the right."""
    axes.tick_params(which="both", labelsize=7)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_fontsize(8)
    axes.spines[["top", "right"]].set_visible(False)


def key(axes: Any, **options: Any) -> None:
    """Legend without a frame."""
    axes.legend(**{"frameon": False, "fontsize": 7, **options})
