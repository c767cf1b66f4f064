"""Orbits of a map: iteration, distances to the examples with proven bounds, recovery curves, margins."""

from memzoo.dynamics.orbits.distance import Nearest, close_pairs, default_eps, distinct, nearest
from memzoo.dynamics.orbits.iterated_map import power
from memzoo.dynamics.orbits.margin import Margin, group_of_duplicates, nearest_margin
from memzoo.dynamics.orbits.orbit import SETTLED, Orbit, iterate
from memzoo.dynamics.orbits.recovery import RecoveryCurve, recovery_curve

__all__ = [
    "SETTLED",
    "Margin",
    "Nearest",
    "Orbit",
    "RecoveryCurve",
    "close_pairs",
    "default_eps",
    "distinct",
    "group_of_duplicates",
    "iterate",
    "nearest",
    "nearest_margin",
    "power",
    "recovery_curve",
]
