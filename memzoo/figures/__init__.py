"""One figure of the paper a file: a checkpoint in, numbers and a picture out."""

from memzoo.figures.catalogue import FIGURES, reproduce
from memzoo.figures.fig3b import draw_trajectories
from memzoo.figures.reproduction import Reproduction, Row

__all__ = ["FIGURES", "Reproduction", "Row", "draw_trajectories", "reproduce"]
