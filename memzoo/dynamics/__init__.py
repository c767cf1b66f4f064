"""What a self-map does: orbits, spectra, fixed points and recovery. Works on any callable; knows no networks."""

from memzoo.dynamics.certificate import Certificates, certify
from memzoo.dynamics.distance import Nearest, close_pairs, default_eps, nearest
from memzoo.dynamics.eigenvalues import Spectrum, spectrum
from memzoo.dynamics.jacobian import HasCut
from memzoo.dynamics.notation import bracket_notation
from memzoo.dynamics.orbit import Orbit, iterate
from memzoo.dynamics.recovery import HasLinearOutput, RecoveryCurve, recovery_curve

__all__ = [
    "Certificates",
    "HasCut",
    "HasLinearOutput",
    "Nearest",
    "Orbit",
    "RecoveryCurve",
    "Spectrum",
    "bracket_notation",
    "certify",
    "close_pairs",
    "default_eps",
    "iterate",
    "nearest",
    "recovery_curve",
    "spectrum",
]
