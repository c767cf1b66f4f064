"""What every figure is made with: its material, its reproduction, its style and its drawing."""

from memzoo.figures.engine.drawing import (
    add_legend,
    create_figure,
    draw_band,
    draw_median,
    normalise,
    place_image,
    set_iteration_axis,
    shift_to_grey,
    tidy,
)
from memzoo.figures.engine.figure import Arrays, Figure, stack_arrays
from memzoo.figures.engine.material import Claim, Material
from memzoo.figures.engine.reproduction import Reproduction, Row, report_number
from memzoo.figures.engine.style import COLUMN, MARKS, SERIES, WIDTH
from memzoo.figures.engine.trajectories import (
    draw_orbits,
    draw_trajectories,
    fill_with_orbits,
    follow_orbits,
    name_columns,
    show_noise_as_grey,
)
from memzoo.plotting import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION

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
    "add_legend",
    "create_figure",
    "draw_band",
    "draw_median",
    "draw_orbits",
    "draw_trajectories",
    "fill_with_orbits",
    "follow_orbits",
    "name_columns",
    "normalise",
    "place_image",
    "report_number",
    "set_iteration_axis",
    "shift_to_grey",
    "show_noise_as_grey",
    "stack_arrays",
    "tidy",
]
