"""The measures that facts are made of: each a number computed from a loaded checkpoint."""

from collections.abc import Callable
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from memzoo.dynamics import Certificates, RecoveryCurve, Spectrum, certify, recovery_curve, spectrum
from memzoo.metrics import span_residual
from memzoo.models import Autoencoder, Ensemble


class Measurements:
    """What has been measured on one model, each thing once."""

    def __init__(self, model: Autoencoder) -> None:
        assert model.examples is not None
        assert model.probes is not None
        self.model, self.examples, self.probes = model, model.examples, model.probes
        self.curve = lru_cache(self._curve)
        self.certificates = lru_cache(self._certificates)

    def _curve(self, steps: int, eps: float) -> RecoveryCurve:
        return recovery_curve(self.model, self.probes, self.examples, steps, eps=eps)

    def _certificates(self, eps: float) -> Certificates:
        return certify(self.model, self.examples, eps=eps)

    @cached_property
    def spectrum(self) -> Spectrum:
        """At the training examples."""
        return spectrum(self.model, self.examples)

    @property
    def ensemble(self) -> Ensemble:
        """The model, which must be one."""
        if not isinstance(self.model, Ensemble):
            raise TypeError(f"this measure is for an Ensemble, and the model is a {type(self.model).__name__}.")
        return self.model

    @cached_property
    def moduli(self) -> Tensor:
        """Moduli of the eigenvalues of each member's operator, largest first."""
        return self.ensemble.eigenvalues().abs()

    @cached_property
    def outputs(self) -> Tensor:
        """Reconstructions of the training examples."""
        with torch.no_grad():
            return self.model(self.examples)

    def noise_outputs(self, count: int, seed: int) -> Tensor:
        """Outputs for standard Gaussian inputs."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            return self.model(torch.randn((count, *self.model.config.shape), generator=generator))


def attractors(m: Measurements, *, eps: float) -> float:
    """Training examples certified as attractors."""
    return m.certificates(eps).attractor.sum().item()


def certified_radius_max(m: Measurements, *, eps: float) -> float:
    """Largest spectral radius at the fixed points of the training examples."""
    return m.certificates(eps).radius.max().item()


def contracting(m: Measurements) -> float:
    """Training examples whose spectral radius is below 1 beyond its error bound."""
    return sum(verdict == "contracting" for verdict in m.spectrum.verdict)


def radius_max(m: Measurements) -> float:
    """Largest spectral radius at the training examples."""
    return m.spectrum.radius.max().item()


def recovery(m: Measurements, *, eps: float, t: int) -> float:
    """R_t from the held-out starts."""
    return m.curve(200, eps).rate[t].item()


def arrived(m: Measurements, *, eps: float, t: int) -> float:
    """Share of the held-out starts within eps of a training example after t iterations."""
    return m.curve(200, eps).arrived[t].item()


def eigenvalue(m: Measurements, *, rank: int) -> float:
    """Modulus of the eigenvalue of this rank (1 the largest) at the first example: of the operator, if f is linear."""
    return m.spectrum.eigenvalues[0, rank - 1].abs().item()


def relative_error(m: Measurements) -> float:
    """Largest ||f(x) - x|| / ||x|| over the training examples."""
    gap = (m.outputs - m.examples).flatten(1).norm(dim=1)
    return (gap / m.examples.flatten(1).norm(dim=1)).max().item()


def mean_squared_error(m: Measurements) -> float:
    """Training loss: mean over pixels and examples."""
    return (m.outputs - m.examples).double().square().mean().item()


def span_residual_median(m: Measurements, *, count: int, seed: int) -> float:
    """Median relative distance of outputs for Gaussian inputs from the span of the training examples."""
    return span_residual(m.noise_outputs(count, seed), m.examples).median().item()


def median_eigenvalue(m: Measurements, *, rank: int) -> float:
    """Median over the members of an ensemble of the modulus of their operators' eigenvalue of this rank."""
    return m.moduli[:, rank - 1].median().item()


def members_within(m: Measurements, *, leading: int, low: float, high: float, below: float) -> float:
    """Members of an ensemble whose ``leading`` moduli lie in [low, high] and all others are less than ``below``."""
    ours = m.moduli
    inside = ((ours[:, :leading] >= low) & (ours[:, :leading] <= high)).all(1) & (ours[:, leading:] < below).all(1)
    return inside.sum().item()


def members_converged(m: Measurements) -> float:
    """Members of an ensemble whose training reached the loss at which it was to stop."""
    return (m.ensemble.stopped_at >= 0).sum().item()


MEASURES: dict[str, Callable[..., float]] = {
    measure.__name__: measure
    for measure in (
        arrived,
        attractors,
        certified_radius_max,
        contracting,
        eigenvalue,
        mean_squared_error,
        median_eigenvalue,
        members_converged,
        members_within,
        radius_max,
        recovery,
        relative_error,
        span_residual_median,
    )
}
