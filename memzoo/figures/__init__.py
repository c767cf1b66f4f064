"""Reproduce the figures and tables of the paper, one a file: checkpoints in; arrays, numbers and a picture out."""

from memzoo.figures.catalogue import FIGURES, reproduce, reproduce_all
from memzoo.figures.engine import Claim, Figure, Material, Reproduction, Row, draw_trajectories
from memzoo.figures.report import write_report

__all__ = [
    "FIGURES",
    "Claim",
    "Figure",
    "Material",
    "Reproduction",
    "Row",
    "draw_trajectories",
    "reproduce",
    "reproduce_all",
    "write_report",
]
