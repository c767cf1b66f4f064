"""What facts are measured from: a loaded checkpoint, and everything found on it, each thing once."""

import warnings
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Literal, cast

import torch
from torch import Tensor

from memzoo.data import gaussian_noise, white_squares
from memzoo.dynamics import (
    Certificates,
    LimitSet,
    RecoveryCurve,
    Spectrum,
    census,
    certify,
    iterate,
    nearest,
    recovery_curve,
    spectrum,
)
from memzoo.dynamics.attractors import certify_quickly
from memzoo.errors import InvalidArgumentError, InvalidTypeError
from memzoo.models import Autoencoder, Ensemble

Kind = Literal["probes", "noise", "squares"]
STEPS = 200  # iterations of a curve


class Measurements:
    """What has been measured on one model, each thing once."""

    model: Autoencoder
    examples: Tensor
    probes: Tensor

    def __init__(self, model: Autoencoder, whole: Tensor | None = None) -> None:
        assert model.examples is not None
        assert model.probes is not None
        self.model, self.examples, self.probes = model, model.examples, model.probes
        self.whole: Tensor = self.examples if whole is None else whole
        """All training images, also where only some of them travel with the checkpoint."""
        self._curves = lru_cache(self._curve)
        self.member_attractors: Callable[..., Tensor] = lru_cache(self._member_attractors)
        self.certificates: Callable[..., Certificates] = lru_cache(self._certificates)
        self.distances: Callable[..., Tensor] = lru_cache(self._distances)
        self.cycle: Callable[..., LimitSet | None] = lru_cache(self._cycle)
        self.in_order: Callable[..., Tensor] = lru_cache(self._in_order)

    def curve(self, t: int, eps: float) -> RecoveryCurve:
        """Over at least ``t`` iterations: one run serves all t up to 200."""
        return self._curves(max(t, STEPS), eps)

    def _curve(self, steps: int, eps: float) -> RecoveryCurve:
        with warnings.catch_warnings():  # facts name their eps
            warnings.filterwarnings("ignore", message="eps = .* times the distance", category=UserWarning)
            return recovery_curve(self.model, self.probes, self.examples, steps, eps=eps, tol=None)

    def _certificates(self, eps: float) -> Certificates:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="eps = .* times the distance", category=UserWarning)
            return certify_quickly(self.model, self.examples, eps)

    def _distances(self, kind: Kind, t: int, count: int, seed: int) -> Tensor:
        """Relative distance ||f^t(z) - x|| / ||x|| of each start z to the training example x nearest to where it is.

        Of an ensemble, (count, members), each member's to its own examples.
        """
        starts = self.starts(kind, count, seed)
        if not isinstance(self.model, Ensemble):
            return relative_distance(iterate(self.model, starts, t).points, self.examples)
        apart = []  # each on its own: a member that diverges stops no other
        for index, (own, examples) in enumerate(zip(starts.unbind(1), self.examples.unbind(1), strict=True)):
            apart.append(relative_distance(iterate(self.model.member(index), own, t).points, examples))
        return torch.stack(apart, 1)

    def starts(self, kind: Kind, count: int, seed: int) -> Tensor:
        """The first held-out starts, or as many points drawn by the seed."""
        shape = self.model.config.shape
        if kind == "noise":
            return gaussian_noise(count, shape, seed=seed)
        if kind == "squares":
            return white_squares(count, cast(tuple[int, int, int], tuple(shape)), seed=seed)
        if count <= len(self.probes):
            return self.probes[:count]
        raise InvalidArgumentError(
            f"{len(self.probes)} held-out starts travel with the checkpoint, the fact asks for {count}."
        )

    def _cycle(self, eps: float) -> LimitSet | None:
        """The certified limit cycle through all training examples in their order, each within eps of its point."""
        count = len(self.examples)
        for limit in census(self.model, self.examples, self.examples, eps=eps, max_period=count).limits:
            near = nearest(limit.points, self.examples)
            first = int(near.index[0])
            order = torch.arange(first, first + count, device=near.index.device) % count
            if limit.attracting and torch.equal(near.index, order) and bool((near.distance < eps).all()):
                return limit
        return None

    def _in_order(self, kind: Kind, relative: float, t: int, count: int, seed: int) -> Tensor:
        """Of each start, whether the n + 1 points from time t on run through all n training examples in their order.

        Each of them within ``relative``, a share of its norm, of its example.
        """
        length = len(self.examples)
        times = range(t, t + length + 1)
        kept = iterate(self.model, self.starts(kind, count, seed), times[-1], keep=times).kept
        places = torch.stack([nearest(kept[time], self.examples).index for time in times])
        close = torch.stack([relative_distance(kept[time], self.examples) <= relative for time in times])
        return close.all(0) & (places[1:] == (places[:-1] + 1) % length).all(0)

    @cached_property
    def spectrum(self) -> Spectrum:
        """At the training examples."""
        return spectrum(self.model, self.examples)

    def _member_attractors(self, eps: float) -> Tensor:
        """Certified attractors of each member of an ensemble, (members,)."""
        counts = []
        for index in range(len(self.ensemble)):
            member = self.ensemble.member(index)
            assert member.examples is not None
            counts.append(certify(member, member.examples, eps=eps).attractor.sum())
        return torch.stack(counts)

    @property
    def ensemble(self) -> Ensemble:
        """The model, which must be one."""
        if not isinstance(self.model, Ensemble):
            raise InvalidTypeError(f"this measure is for an Ensemble, and the model is a {type(self.model).__name__}.")
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


def relative_distance(points: Tensor, examples: Tensor) -> Tensor:
    """||z - x|| / ||x|| of each point z to the example x nearest to it."""
    found = nearest(points, examples)
    size = examples[found.index].flatten(1).norm(dim=1).double()
    return found.distance / size.clamp(min=torch.finfo(torch.float64).tiny)  # a black image is reached exactly or not
