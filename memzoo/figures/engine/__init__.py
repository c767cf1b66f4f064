"""What every figure is made with: its material, its reproduction, its style."""

from memzoo.figures.engine.figure import Arrays, Figure
from memzoo.figures.engine.material import Claim, Material
from memzoo.figures.engine.reproduction import Reproduction, Row
from memzoo.figures.engine.style import (
    BLACK,
    BLUE,
    COLUMN,
    GREEN,
    GREY,
    MARKS,
    ORANGE,
    SERIES,
    VERMILION,
    WIDTH,
    key,
    tidy,
)
from memzoo.figures.engine.trajectories import draw_orbits, draw_trajectories, fill_with_orbits, grey, headings, orbits

__all__ = [
    "BLACK",
    "BLUE",
    "COLUMN",
    "GREEN",
    "GREY",
    "MARKS",
    "ORANGE",
    "SERIES",
    "VERMILION",
    "WIDTH",
    "Arrays",
    "Claim",
    "Figure",
    "Material",
    "Reproduction",
    "Row",
    "draw_orbits",
    "draw_trajectories",
    "fill_with_orbits",
    "grey",
    "headings",
    "key",
    "orbits",
    "tidy",
]
