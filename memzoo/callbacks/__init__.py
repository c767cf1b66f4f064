"""Measure contraction and recovery during training, in anyone's LightningModule."""

from memzoo.callbacks.attractor import AttractorCallback
from memzoo.callbacks.contraction import ContractionCallback
from memzoo.callbacks.generators import KeepGenerators
from memzoo.callbacks.keep_steps import KeepSteps
from memzoo.callbacks.starting import StartingCallback
from memzoo.callbacks.stopping import StopBeforeMemorized, StopWhenMemorized
from memzoo.callbacks.trajectories import TrajectoryLogger
from memzoo.modules import evaluation_mode

__all__ = [
    "AttractorCallback",
    "ContractionCallback",
    "KeepGenerators",
    "KeepSteps",
    "StartingCallback",
    "StopBeforeMemorized",
    "StopWhenMemorized",
    "TrajectoryLogger",
    "evaluation_mode",
]
