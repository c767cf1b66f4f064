"""Orbits of a map: iteration, distances to the examples with proven bounds, recovery curves, margins."""

from memzoo.dynamics.orbits.distance import Nearest, close_pairs, default_eps, nearest
from memzoo.dynamics.orbits.duplicates import (
    ExampleGroups,
    find_first_members,
    group_duplicates,
    select_distinct,
)
from memzoo.dynamics.orbits.example_eps import (
    example_eps,
    format_eps,
    group_near_copies,
    resolve_eps,
    resolve_groups,
)
from memzoo.dynamics.orbits.iterated_map import compose_with_itself
from memzoo.dynamics.orbits.margin import Margin, nearest_margin
from memzoo.dynamics.orbits.orbit import SETTLED, Orbit, iterate
from memzoo.dynamics.orbits.pace import predict_lengths
from memzoo.dynamics.orbits.recovery import RecoveryCurve, recovery_curve

__all__ = [
    "SETTLED",
    "ExampleGroups",
    "Margin",
    "Nearest",
    "Orbit",
    "RecoveryCurve",
    "close_pairs",
    "compose_with_itself",
    "default_eps",
    "example_eps",
    "find_first_members",
    "format_eps",
    "group_duplicates",
    "group_near_copies",
    "iterate",
    "nearest",
    "nearest_margin",
    "predict_lengths",
    "recovery_curve",
    "resolve_eps",
    "resolve_groups",
    "select_distinct",
]
