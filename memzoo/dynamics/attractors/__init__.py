"""Where orbits end: certified fixed points, basins, limit cycles, the census of many starts."""

from memzoo.dynamics.attractors.basin import BasinRadius, basin_radius
from memzoo.dynamics.attractors.census import Census, census
from memzoo.dynamics.attractors.certificate import Certificates
from memzoo.dynamics.attractors.certification import certify
from memzoo.dynamics.attractors.estimate import Estimate, estimate
from memzoo.dynamics.attractors.find_attractors import Attractor, Attractors, find_attractors
from memzoo.dynamics.attractors.limit_sets import LimitSet
from memzoo.dynamics.attractors.quick_certificate import certify_near, certify_quickly

__all__ = [
    "Attractor",
    "Attractors",
    "BasinRadius",
    "Census",
    "Certificates",
    "Estimate",
    "LimitSet",
    "basin_radius",
    "census",
    "certify",
    "certify_near",
    "certify_quickly",
    "estimate",
    "find_attractors",
]
