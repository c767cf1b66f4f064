"""Colours that readers with any kind of colour vision can tell apart (Okabe and Ito, Color Universal Design, 2008)."""

BLUE = "#0072B2"
ORANGE = "#E69F00"
RED = "#D55E00"
SKY = "#56B4E9"
BLACK = "#000000"
