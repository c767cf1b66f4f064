"""Hold the common look of all pictures: widths, and colours and marks that every eye tells apart.

The colours are those of Okabe and Ito (Color Universal Design, 2008), which people with any colour vision distinguish.
"""

WIDTH = 7.2
"""Width in inches of a picture across both columns of the paper."""
COLUMN = 3.5
"""Width in inches of a picture across a single column."""

BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#999999"

SERIES = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
MARKS = ("o", "s", "^", "D", "v", "P", "X")
"""Marks of the curves in the order of ``SERIES``: in print without colour, curves differ by their marks."""
