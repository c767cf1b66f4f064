"""One figure of the paper a file: checkpoints in, arrays, numbers and a picture out."""

from memzoo.figures.catalogue import FIGURES, reproduce, reproduce_all
from memzoo.figures.figure import Figure
from memzoo.figures.material import Claim, Material
from memzoo.figures.report import write_report
from memzoo.figures.reproduction import Reproduction, Row
from memzoo.figures.trajectories import draw_trajectories

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
