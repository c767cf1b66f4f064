"""Hold the common look of all figures: widths, and the colours and marks of their curves."""

from memzoo.plotting import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

WIDTH = 7.2
"""Width in inches of a picture across both columns of the paper."""
COLUMN = 3.5
"""Width in inches of a picture across a single column."""

SERIES = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
MARKS = ("o", "s", "^", "D", "v", "P", "X")
"""Marks of the curves in the order of ``SERIES``: in print without colour, curves differ by their marks."""
