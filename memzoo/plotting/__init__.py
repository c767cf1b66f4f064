"""Grids of images, curves and spectra as figures of matplotlib."""

from memzoo.plotting.curves import draw_history
from memzoo.plotting.image_grid import as_images, image_grid, show_image
from memzoo.plotting.pictures import draw_iterates, draw_spectrum

__all__ = ["as_images", "draw_history", "draw_iterates", "draw_spectrum", "image_grid", "show_image"]
