"""The metrics, one quantity a file: the function and its torchmetrics class."""

from memzoo.metrics.constant import ConstantDistance, constant_distance
from memzoo.metrics.dimension import LocalDimension, local_dimension
from memzoo.metrics.identity import IdentityDistance, identity_distance
from memzoo.metrics.phi_eigen import PhiEigenResidual, phi_eigen_residual
from memzoo.metrics.phi_span import PhiSpanResidual, phi_span_residual
from memzoo.metrics.radius import SpectralRadius, spectral_radius
from memzoo.metrics.reconstruction import ReconstructionError, reconstruction_error
from memzoo.metrics.recovery import RecoveryProbability, recovery_probability
from memzoo.metrics.span import SpanResidual, span_residual

__all__ = [
    "ConstantDistance",
    "IdentityDistance",
    "LocalDimension",
    "PhiEigenResidual",
    "PhiSpanResidual",
    "ReconstructionError",
    "RecoveryProbability",
    "SpanResidual",
    "SpectralRadius",
    "constant_distance",
    "identity_distance",
    "local_dimension",
    "phi_eigen_residual",
    "phi_span_residual",
    "reconstruction_error",
    "recovery_probability",
    "span_residual",
    "spectral_radius",
]
