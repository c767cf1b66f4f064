"""Compute what facts are measured from: everything that is found on a loaded checkpoint, each thing once."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

from memzoo.data import gaussian_noise, white_squares
from memzoo.dynamics import (
    Certificates,
    LimitSet,
    Nearest,
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

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Method = Callable[Concatenate[Any, Arguments], Result]

Kind = Literal["probes", "noise", "matched_noise", "squares"]
"""Starts of orbits: held-out images, standard Gaussian inputs, Gaussian inputs with the mean and the deviation of the
training images, white squares."""
STEPS = 200
"""Iterations of a curve."""


def remember(method: Method[Arguments, Result]) -> Method[Arguments, Result]:
    """Keep each result of a method in the ``results`` of its object, as long as that object lives."""

    @wraps(method)
    def look_up(self: Any, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        question = (method.__name__, args, tuple(kwargs.items()))
        if question not in self.results:
            self.results[question] = method(self, *args, **kwargs)
        return self.results[question]

    return look_up


@contextmanager
def _without_warnings_about_eps() -> Iterator[None]:
    """Silence the warning that eps is small for these fixed points: the registry chose the eps of each fact."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="eps = .* times the distance", category=UserWarning)
        yield


class Measurements:
    """Measure one model, each thing once.

    Args:
        model: A loaded checkpoint, with its training images and held-out starts.
        whole: All training images, if only some of them travel with the checkpoint.
    """

    examples: Tensor
    probes: Tensor

    def __init__(self, model: Autoencoder, whole: Tensor | None = None) -> None:
        assert model.examples is not None
        assert model.probes is not None
        self.model = model
        self.examples = model.examples
        self.probes = model.probes
        self.whole: Tensor = model.examples if whole is None else whole
        self.results: dict[tuple[Any, ...], Any] = {}

    def curve(self, t: int, eps: float) -> RecoveryCurve:
        """Compute the recovery curve of the held-out starts over at least ``t`` iterations."""
        return self._curve(max(t, STEPS), eps)  # one run of 200 iterations serves all shorter ones

    @remember
    def _curve(self, steps: int, eps: float) -> RecoveryCurve:
        """Compute the recovery curve over exactly ``steps`` iterations."""
        with _without_warnings_about_eps():
            return recovery_curve(self.model, self.probes, self.examples, steps, eps=eps, tol=None)

    @remember
    def certificates(self, eps: float) -> Certificates:
        """Certify the training examples."""
        with _without_warnings_about_eps():
            return certify_quickly(self.model, self.examples, eps)

    @remember
    def distances(self, kind: Kind, t: int, count: int, seed: int) -> Tensor:
        """Compute how far each start z is from the training examples after t iterations.

        Returns:
            ||f^t(z) - x|| / ||x|| for the training example x that is nearest to f^t(z), (count,). Of an ensemble each
            member has its own examples, (count, members).
        """
        ends = self.ends(kind, t, count, seed)
        if not isinstance(self.model, Ensemble):
            return relative_distance(ends, self.examples)
        members = zip(ends.unbind(1), self.examples.unbind(1), strict=True)
        return torch.stack([relative_distance(own_ends, own_examples) for own_ends, own_examples in members], 1)

    @remember
    def nearest_to_ends(self, kind: Kind, t: int, count: int, seed: int) -> Nearest:
        """Find the training example that is nearest to each start after t iterations."""
        return nearest(self.ends(kind, t, count, seed), self.examples)

    @remember
    def ends(self, kind: Kind, t: int, count: int, seed: int) -> Tensor:
        """Find where each start is after t iterations, (count, *shape); of an ensemble, each member by itself."""
        starts = self.starts(kind, count, seed)
        if not isinstance(self.model, Ensemble):
            return iterate(self.model, starts, t).points
        # An orbit of all members together ends where the first of them diverges.
        orbits = [iterate(self.model.member(index), own, t) for index, own in enumerate(starts.unbind(1))]
        return torch.stack([orbit.points for orbit in orbits], 1)

    def starts(self, kind: Kind, count: int, seed: int) -> Tensor:
        """Return the first held-out images, or points drawn by the seed."""
        shape = self.model.config.shape
        if kind == "noise":
            return gaussian_noise(count, shape, seed=seed)
        if kind == "matched_noise":
            mean = self.examples.double().mean().item()
            deviation = self.examples.double().std().item()
            return gaussian_noise(count, shape, mean=mean, std=deviation, seed=seed)
        if kind == "squares":
            return white_squares(count, cast(tuple[int, int, int], tuple(shape)), seed=seed)
        if count <= len(self.probes):
            return self.probes[:count]
        raise InvalidArgumentError(
            f"{len(self.probes)} held-out starts travel with the checkpoint, the fact asks for {count}."
        )

    @remember
    def cycle(self, eps: float) -> LimitSet | None:
        """Find the certified limit cycle through all training examples in their order, each within eps of its point."""
        count = len(self.examples)
        found = census(self.model, self.examples, self.examples, eps=eps, max_period=count)
        for limit in found.limits:
            near = nearest(limit.points, self.examples)
            first = int(near.index[0])
            order = torch.arange(first, first + count, device=near.index.device) % count
            in_order = torch.equal(near.index, order)
            if limit.attracting and in_order and bool((near.distance < eps).all()):
                return limit
        return None

    @remember
    def in_order(self, kind: Kind, relative: float, t: int, count: int, seed: int) -> Tensor:
        """Tell of each start whether it runs from time t on through all n training examples in their order.

        These are n + 1 points, since the last one is to be the first one again. Each must be as near to its example as
        ``relative`` times the norm of that example.
        """
        length = len(self.examples)
        times = range(t, t + length + 1)
        points = iterate(self.model, self.starts(kind, count, seed), times[-1], keep=times).kept
        index = torch.stack([nearest(points[time], self.examples).index for time in times])
        near = torch.stack([relative_distance(points[time], self.examples) <= relative for time in times])
        follows = index[1:] == (index[:-1] + 1) % length
        return near.all(0) & follows.all(0)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Compute the spectrum of the Jacobian at each training example."""
        return spectrum(self.model, self.examples)

    @remember
    def member_attractors(self, eps: float) -> Tensor:
        """Count the certified attractors of each member of an ensemble, (members,)."""
        counts = []
        for index in range(len(self.ensemble)):
            member = self.ensemble.member(index)
            assert member.examples is not None
            counts.append(certify(member, member.examples, eps=eps).attractor.sum())
        return torch.stack(counts)

    @property
    def ensemble(self) -> Ensemble:
        """Return the model, and raise if it is no ensemble."""
        if not isinstance(self.model, Ensemble):
            raise InvalidTypeError(f"this measure is for an Ensemble, and the model is a {type(self.model).__name__}.")
        return self.model

    @cached_property
    def moduli(self) -> Tensor:
        """Compute the moduli of the eigenvalues of each member's operator, largest first."""
        return self.ensemble.eigenvalues().abs()

    @cached_property
    def outputs(self) -> Tensor:
        """Compute the reconstructions of the training examples."""
        with torch.no_grad():
            return self.model(self.examples)

    def noise_outputs(self, count: int, seed: int) -> Tensor:
        """Compute the outputs for standard Gaussian inputs."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((count, *self.model.config.shape), generator=generator)
        with torch.no_grad():
            return self.model(noise)


def relative_distance(points: Tensor, examples: Tensor) -> Tensor:
    """Compute ||z - x|| / ||x|| of each point z for the example x nearest to it."""
    near = nearest(points, examples)
    norms = examples[near.index].flatten(1).norm(dim=1).double()
    # A black image is reached exactly or not at all.
    smallest = torch.finfo(torch.float64).tiny
    return near.distance / norms.clamp(min=smallest)
