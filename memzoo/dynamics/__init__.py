"""What a self-map does: orbits, spectra, fixed points and recovery. Works on any callable; knows no networks."""

from memzoo.dynamics.attractors import Attractor, Attractors, find_attractors
from memzoo.dynamics.basin import BasinRadius, basin_radius
from memzoo.dynamics.capacity import CapacityCurve, capacity_curve
from memzoo.dynamics.certificate import Certificates, certify
from memzoo.dynamics.cut import HasCut
from memzoo.dynamics.distance import Nearest, close_pairs, default_eps, nearest
from memzoo.dynamics.eigenvalues import spectrum
from memzoo.dynamics.fates import Census, census
from memzoo.dynamics.hopfield import dense_associative_memory, hopfield, polynomial_memory
from memzoo.dynamics.latent import LatentMap, OutputRange, latent_map, output_range
from memzoo.dynamics.limit_sets import LimitSet
from memzoo.dynamics.linear_operator import HasShape, Operator, operator
from memzoo.dynamics.margin import Margin, nearest_margin
from memzoo.dynamics.notation import bracket_notation
from memzoo.dynamics.orbit import Orbit, iterate
from memzoo.dynamics.radius import radius_bracket
from memzoo.dynamics.recall import Recall, recall_against_mask, recall_against_noise
from memzoo.dynamics.recovery import RecoveryCurve, recovery_curve
from memzoo.dynamics.shares import Share, wilson
from memzoo.dynamics.spectra import Spectrum

__all__ = [
    "Attractor",
    "Attractors",
    "BasinRadius",
    "CapacityCurve",
    "Census",
    "Certificates",
    "HasCut",
    "HasShape",
    "LatentMap",
    "LimitSet",
    "Margin",
    "Nearest",
    "Operator",
    "Orbit",
    "OutputRange",
    "Recall",
    "RecoveryCurve",
    "Share",
    "Spectrum",
    "basin_radius",
    "bracket_notation",
    "capacity_curve",
    "census",
    "certify",
    "close_pairs",
    "default_eps",
    "dense_associative_memory",
    "find_attractors",
    "hopfield",
    "iterate",
    "latent_map",
    "nearest",
    "nearest_margin",
    "operator",
    "output_range",
    "polynomial_memory",
    "radius_bracket",
    "recall_against_mask",
    "recall_against_noise",
    "recovery_curve",
    "spectrum",
    "wilson",
]
