"""Grids of images, curves and spectra as figures of matplotlib."""

from memzoo.plotting.image_grid import as_images, image_grid, show_image

__all__ = ["as_images", "image_grid", "show_image"]
