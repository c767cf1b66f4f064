"""A map as a memory: recall and recovery of damaged examples, capacity, Hopfield and dense associative memories."""

from memzoo.dynamics.memory.capacity import CapacityCurve, capacity_curve
from memzoo.dynamics.memory.hopfield import dense_associative_memory, hopfield, polynomial_memory
from memzoo.dynamics.memory.recall import Recall, level_at, recall_against_mask, recall_against_noise
from memzoo.dynamics.memory.recover import Recovery, recover

__all__ = [
    "CapacityCurve",
    "Recall",
    "Recovery",
    "capacity_curve",
    "dense_associative_memory",
    "hopfield",
    "level_at",
    "polynomial_memory",
    "recall_against_mask",
    "recall_against_noise",
    "recover",
]
