"""Grids of images, curves and spectra as figures of matplotlib, and the colours of all pictures."""

from memzoo.plotting.colours import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from memzoo.plotting.curves import draw_history
from memzoo.plotting.image_grid import as_images, image_grid, show_image
from memzoo.plotting.pictures import draw_iterates, draw_spectrum

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILION",
    "as_images",
    "draw_history",
    "draw_iterates",
    "draw_spectrum",
    "image_grid",
    "show_image",
]
