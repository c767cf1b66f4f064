"""Orbits of a map: iteration, distances to the examples with proven bounds, recovery curves, margins."""

from memzoo.dynamics.orbits.distance import Nearest, close_pairs, default_eps, nearest
from memzoo.dynamics.orbits.duplicates import group_duplicates, select_distinct
from memzoo.dynamics.orbits.iterated_map import compose_with_itself
from memzoo.dynamics.orbits.margin import Margin, nearest_margin
from memzoo.dynamics.orbits.orbit import SETTLED, Orbit, iterate
from memzoo.dynamics.orbits.recovery import RecoveryCurve, recovery_curve

__all__ = [
    "SETTLED",
    "Margin",
    "Nearest",
    "Orbit",
    "RecoveryCurve",
    "close_pairs",
    "compose_with_itself",
    "default_eps",
    "group_duplicates",
    "iterate",
    "nearest",
    "nearest_margin",
    "recovery_curve",
    "select_distinct",
]
