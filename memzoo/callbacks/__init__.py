"""Measure contraction and recovery during training, in anyone's LightningModule."""

from memzoo.callbacks.attractor import AttractorCallback
from memzoo.callbacks.contraction import ContractionCallback
from memzoo.callbacks.generators import KeepGenerators
from memzoo.callbacks.keep_steps import KeepSteps
from memzoo.callbacks.starting import StartingCallback
from memzoo.callbacks.stopping import StopBeforeMemorized, StopWhenMemorized
from memzoo.callbacks.trainer_callback import transformers_callback
from memzoo.callbacks.trajectories import TrajectoryLogger
from memzoo.callbacks.watch import Watch
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
    "Watch",
    "evaluation_mode",
    "transformers_callback",
]
