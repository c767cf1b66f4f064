"""Measure how many examples a way of building maps can store: attractors and recall against their number."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_steps
from memzoo._types import Map
from memzoo.dynamics.attractors import certify
from memzoo.dynamics.memory.recall import check_draws, check_levels, recall_against_noise
from memzoo.dynamics.orbits import resolve_eps, resolve_groups
from memzoo.errors import InvalidArgumentError, InvalidTypeError


@dataclass(frozen=True)
class CapacityCurve:
    """What :func:`capacity_curve` found, one entry a number of examples."""

    counts: Int[Tensor, " counts"]
    """Numbers of examples n."""
    attractors: Float[Tensor, " counts"]
    """Share of the n examples that are certified attractors, as :func:`memzoo.dynamics.certify` decides it."""
    recalled: Float[Tensor, " counts"]
    """Share of their noisy copies that iterate back to their own example."""
    level: float
    """Standard deviation of that noise, in units of the data."""
    draws: int
    """Noisy copies of each example."""
    eps: Float[Tensor, " examples"]
    """Radius of each example in L2, the same for all n."""

    def capacity(self, share: float = 0.9, by: Literal["attractors", "recalled"] = "attractors") -> int:
        """Return the largest n up to which the share stays at or above ``share``; 0 if it is below at the first n.

        The result is one of ``counts``. If it is the last one, the share never falls and the capacity may be larger.
        """
        if not 0 < share <= 1:
            raise InvalidArgumentError(f"share must lie in (0, 1], got {share!r}; 0.9 asks for nine of ten.")
        if by not in ("attractors", "recalled"):
            raise InvalidArgumentError(f"by must be 'attractors' or 'recalled', got {by!r}.")
        stored = self.attractors if by == "attractors" else self.recalled
        # The product of all answers so far stays 1 up to the first fall.
        held = int((stored >= share).int().cumprod(0).sum())
        return int(self.counts[held - 1]) if held else 0


def capacity_curve(
    build: Callable[[Tensor], Map],
    examples: Float[Tensor, "n *shape"],
    counts: Iterable[int],
    *,
    level: float,
    draws: int = 16,
    steps: int = 1000,
    eps: float | Float[Tensor, " n"] | None = None,
    seed: int = 0,
) -> CapacityCurve:
    """Build a map on the first n examples, for each n, and measure how many of these it stores and recalls.

    The result depends on how the map is built, training included, as much as on the architecture. ``eps`` and the noise
    of each example are the same for all n, so that numbers can be compared. One order of the examples is one sample:
    shuffle them and repeat for a mean.

    Args:
        build: Function that builds a self-map from a copy of the first n examples ``(n, *shape)``; a module must be in
            eval mode. If the function is random, it must seed itself.
        examples: Training examples, as many as the largest n or more.
        counts: Numbers of examples n, increasing.
        level: Standard deviation of the noise at which recall is measured, in units of the data.
        draws: Noisy copies of each example.
        steps: Most iterations of each orbit.
        eps: Radius, one for all examples or one for each; :func:`memzoo.dynamics.example_eps` of all ``examples`` when
            left out.
        seed: Seed of the noise, which has a generator of its own.

    Returns:
        Cost: for each n one ``build``, one ``certify`` and ``n * draws`` orbits.

    Raises:
        NonFiniteError: NaN or infinity in the examples or in the parameters of a map.
        NotASelfMapError: ``build`` returned a map that changes the shape.
        TypeError: ``build`` returned nothing that can be called.
        ValueError: Counts beyond the examples or not increasing, other arguments out of range.

    Example:
        >>> examples = torch.eye(4)
        >>> def projection(x):  # onto the span of the examples: reproduces all and attracts to none
        ...     return lambda y: y @ x.T @ x
        >>> found = capacity_curve(projection, examples, [1, 4], level=0.0)
        >>> found.attractors, found.recalled, found.capacity()
        (tensor([0., 0.], dtype=torch.float64), tensor([1., 1.], dtype=torch.float64), 0)
    """
    check_batch(examples, "examples")
    check_levels([level], "level")
    check_draws(draws)
    check_steps(steps)
    numbers = _check_counts(counts, len(examples))
    radii = resolve_eps(eps, examples)
    group = resolve_groups(None, eps, examples)
    attractors: list[float] = []
    recalled: list[float] = []
    for n in numbers:
        f = build(examples[:n].clone())  # a copy, because build may change it
        if not callable(f):
            raise InvalidTypeError(
                f"build must return a map from a batch to a batch, got {type(f).__name__}; return the model."
            )
        recall = recall_against_noise(
            f, examples[:n], [level], draws=draws, steps=steps, eps=radii[:n], group=group[:n], seed=seed
        )
        recalled.append(recall.rate.item())
        certificates = certify(f, examples[:n], radii[:n], group=group[:n], steps=steps)
        attractors.append(certificates.attractor.double().mean().item())
    return CapacityCurve(
        counts=torch.tensor(numbers),
        attractors=torch.tensor(attractors, dtype=torch.float64),
        recalled=torch.tensor(recalled, dtype=torch.float64),
        level=float(level),
        draws=draws,
        eps=radii,
    )


def _check_counts(counts: Iterable[int], most: int) -> list[int]:
    """Return the numbers of examples, and raise an error unless they increase from at least 1 to at most ``most``."""
    found = list(counts)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in found)
    # The numbers are compared only if they are whole, because anything else may not be comparable.
    increasing = whole and all(low < high for low, high in pairwise([0, *found]))
    if not found or not increasing:
        raise InvalidArgumentError(f"counts must be whole numbers >= 1 in increasing order, got {found}.")
    if found[-1] > most:
        raise InvalidArgumentError(
            f"counts go up to {found[-1]}, but there are {most} examples; pass more or lower the counts."
        )
    return found
