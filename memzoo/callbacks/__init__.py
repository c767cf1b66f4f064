"""Measure contraction and recovery during training, in anyone's LightningModule."""

from memzoo.callbacks.attractor import AttractorCallback
from memzoo.callbacks.contraction import ContractionCallback
from memzoo.callbacks.evaluation import evaluation_mode

__all__ = ["AttractorCallback", "ContractionCallback", "evaluation_mode"]
