"""The model zoo: a registry of trained checkpoints, loaded with every check and verified fact by fact."""

from memzoo.zoo.entry import Entry, Fact
from memzoo.zoo.loading import create, load
from memzoo.zoo.registry import checkpoints_of, info, list_models
from memzoo.zoo.training import record, train
from memzoo.zoo.verification import Verification, verify

__all__ = [
    "Entry",
    "Fact",
    "Verification",
    "checkpoints_of",
    "create",
    "info",
    "list_models",
    "load",
    "record",
    "train",
    "verify",
]
