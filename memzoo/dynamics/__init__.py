"""What a self-map does: orbits, spectra, fixed points and recovery. Works on any callable; knows no networks."""

from memzoo.dynamics.basin import BasinRadius, basin_radius
from memzoo.dynamics.certificate import Certificates, certify
from memzoo.dynamics.cut import HasCut
from memzoo.dynamics.distance import Nearest, close_pairs, default_eps, nearest
from memzoo.dynamics.eigenvalues import spectrum
from memzoo.dynamics.fates import Census, Share, census
from memzoo.dynamics.latent import LatentMap, OutputRange, latent_map, output_range
from memzoo.dynamics.limit_sets import LimitSet
from memzoo.dynamics.linear_operator import HasShape, Operator, operator
from memzoo.dynamics.notation import bracket_notation
from memzoo.dynamics.orbit import Orbit, iterate
from memzoo.dynamics.radius import radius_bracket
from memzoo.dynamics.recovery import RecoveryCurve, recovery_curve
from memzoo.dynamics.spectra import Spectrum

__all__ = [
    "BasinRadius",
    "Census",
    "Certificates",
    "HasCut",
    "HasShape",
    "LatentMap",
    "LimitSet",
    "Nearest",
    "Operator",
    "Orbit",
    "OutputRange",
    "RecoveryCurve",
    "Share",
    "Spectrum",
    "basin_radius",
    "bracket_notation",
    "census",
    "certify",
    "close_pairs",
    "default_eps",
    "iterate",
    "latent_map",
    "nearest",
    "operator",
    "output_range",
    "radius_bracket",
    "recovery_curve",
    "spectrum",
]
