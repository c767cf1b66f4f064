"""Measure the recall of an associative memory: which corrupted examples iterate back to their own example."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_map, check_steps
from memzoo._types import Map
from memzoo.dynamics.intervals import wilson
from memzoo.dynamics.memory.corruption import Masks, draw_gaussian
from memzoo.dynamics.orbits import (
    close_pairs,
    format_eps,
    iterate,
    nearest,
    resolve_eps,
    resolve_groups,
)
from memzoo.dynamics.tracing import leave_no_trace, promote_to_float64
from memzoo.errors import InvalidArgumentError


@dataclass(frozen=True)
class Recall:
    """What :func:`recall_against_noise` and :func:`recall_against_mask` found; prints as a table.

    Shares are of all corrupted examples of a level, ``draws`` of each example. A diverged orbit has no end, so it
    counts in no share of ends.
    """

    levels: Float[Tensor, " levels"]
    """Standard deviation of the noise in units of the data, or the share of the area that was really masked."""
    rate: Float[Tensor, " levels"]
    """Share whose orbit ends within ``eps`` of the example that was corrupted: the strict recall."""
    per_example: Float[Tensor, "levels n"]
    """This share for each example."""
    nearest: Float[Tensor, " levels"]
    """Share whose orbit ends nearer to that example, or a near-copy of it, than to any other, at whatever distance."""
    confused: Float[Tensor, " levels"]
    """Share whose orbit ends within ``eps`` of another example, and not of its own."""
    input_nearest: Float[Tensor, " levels"]
    """Share that is nearest to its own example before any iteration: the recall of looking up the nearest example."""
    draws: int
    """Corrupted copies of each example a level."""
    steps: int
    """Iterations after which an orbit is assumed to have ended."""
    eps: Float[Tensor, " n"]
    """Radius of each example in L2, given or derived from the examples."""

    def interval(self, confidence: float = 0.95) -> Float[Tensor, "levels 2"]:
        """Compute Wilson's interval of ``rate`` at each level, over the random corruptions of these examples.

        Draws are independent within a level and the same at all levels, so that the curve is smooth and its errors are
        correlated. If examples differ in their rate, the interval is too wide rather than too narrow. It says nothing
        about other examples.
        """
        trials = self.draws * self.per_example.shape[1]
        shares = [wilson(round(rate * trials), trials, confidence) for rate in self.rate.tolist()]
        return torch.tensor([[share.low, share.high] for share in shares], dtype=torch.float64)

    def level_at(self, rate: float = 0.5) -> float:
        """Return the largest level up to which recall stays at or above ``rate``; NaN if it is below at the first.

        The result is one of the measured levels, without interpolation; it is the last one if recall never falls below.
        """
        return level_at(self.levels, self.rate, rate)

    def __str__(self) -> str:
        n = self.per_example.shape[1]
        lines = [
            f"{n} examples, {self.draws} draws each, eps = {format_eps(self.eps)}, {self.steps} steps",
            f"{'level':>10}{'recall %':>10}  {'95 % interval':<16}{'nearest':>9}{'confused':>10}{'input nearest':>15}",
        ]
        shares = [100 * share for share in (self.rate, self.nearest, self.confused, self.input_nearest)]
        for level, (low, high), *row in zip(self.levels.tolist(), 100 * self.interval(), *shares, strict=True):
            rate, near, confused, looked_up = row
            interval = f"[{low:.1f}, {high:.1f}]"
            lines.append(f"{level:>10.4g}{rate:>10.1f}  {interval:<16}{near:>9.1f}{confused:>10.1f}{looked_up:>15.1f}")
        return "\n".join(lines)


def level_at(levels: Float[Tensor, " levels"], rates: Float[Tensor, " levels"], rate: float = 0.5) -> float:
    """Return the largest level up to which ``rates`` stay at or above ``rate``; NaN if they are below at the first.

    Example:
        >>> level_at(torch.tensor([0.0, 0.5, 1.0, 2.0]), torch.tensor([1.0, 0.9, 0.4, 0.6]))
        0.5
    """
    if not 0 < rate <= 1:
        raise InvalidArgumentError(f"rate must lie in (0, 1], got {rate!r}; 0.5 asks where half are still recalled.")
    # The product of all answers so far stays 1 up to the first fall.
    held = int((rates >= rate).int().cumprod(0).sum())
    return levels[held - 1].item() if held else math.nan


def check_levels(levels: Sequence[float] | Tensor, name: str) -> list[float]:
    """Return the strengths of a corruption, and raise an error unless they are finite and increase from 0 on."""
    found = torch.as_tensor(levels, dtype=torch.float64).flatten().tolist()
    ordered = all(low < high for low, high in pairwise(found))
    if not found or not all(0 <= value < math.inf for value in found) or not ordered:
        raise InvalidArgumentError(
            f"{name} must be finite numbers >= 0 in increasing order, got {found}; sort them, each once."
        )
    return found


def check_draws(draws: int) -> None:
    """Raise an error unless ``draws`` is a number of copies of each example."""
    if not isinstance(draws, int) or isinstance(draws, bool) or draws < 1:
        raise InvalidArgumentError(f"draws must be a whole number >= 1, got {draws!r}; 16 is usual.")


@leave_no_trace
@torch.no_grad()
def recall_against_noise(
    f: Map,
    examples: Float[Tensor, "n *shape"],
    levels: Sequence[float] | Tensor,
    *,
    draws: int = 16,
    steps: int = 200,
    eps: float | Float[Tensor, " n"] | None = None,
    group: Int[Tensor, " n"] | None = None,
    clip: tuple[float, float] | None = None,
    seed: int = 0,
) -> Recall:
    r"""Measure recall against additive Gaussian noise: how many :math:`x_i + \sigma g` iterate back to :math:`x_i`.

    Each copy keeps its direction g, standard normal in every coordinate, at all levels :math:`\sigma`. Curves are
    therefore smooth, and differences between levels do not come from different draws. Noise of level :math:`\sigma`
    moves an example by about :math:`\sigma \sqrt d`, d its number of values.

    Args:
        f: Self-map; modules in eval mode. Runs in the dtype and on the device of ``examples``.
        examples: Training examples.
        levels: Standard deviations of the noise in units of the data, increasing; 0 is the example itself.
        draws: Corrupted copies of each example.
        steps: Most iterations of each.
        eps: Radius of recall, one for all examples or one for each; :func:`memzoo.dynamics.example_eps` when left out.
        group: A number for each example; those of equal numbers count as one. When left out, near-copies
            (:func:`memzoo.dynamics.group_near_copies`) count as one if ``eps`` is left out too, else exact duplicates.
        clip: Range that the noisy points are clipped to, such as (0, 1) for images; nothing is clipped when left out.
        seed: Seed of the directions, which have a generator of their own. The same seed gives the same directions. The
            directions of an example do not change when others are added after it.

    Returns:
        Cost: ``len(levels) * n * draws`` orbits; settled ones stop early.

    Raises:
        NonFiniteError: NaN or infinity in the examples or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.
        ValueError: Levels negative or not increasing, ``draws``, ``steps``, ``eps`` or ``clip`` out of range.

    Example:
        >>> recall = recall_against_noise(lambda x: x.sign(), torch.tensor([[1.0], [-1.0]]), [0.0, 0.1, 9.0])
        >>> recall.rate[:2], recall.level_at(0.9)
        (tensor([1., 1.], dtype=torch.float64), 0.1)
    """
    check_batch(examples, "examples")
    deviations = check_levels(levels, "levels")
    check_draws(draws)
    low, high = (-math.inf, math.inf) if clip is None else clip
    if not low < high or examples.min() < low or examples.max() > high:
        raise InvalidArgumentError(
            f"clip must be a range (low, high) that holds the examples, got {clip} for values from "
            f"{examples.min().item():.4g} to {examples.max().item():.4g}; leave it out to clip nothing."
        )
    noise = draw_gaussian(examples, draws, seed)

    def corrupt(level: float) -> Tensor:
        return (examples[:, None] + level * noise).clamp(low, high)

    return _measure_recall(f, examples, deviations, corrupt, steps, eps, group)


@leave_no_trace
@torch.no_grad()
def recall_against_mask(
    f: Map,
    examples: Float[Tensor, "n *shape"],
    areas: Sequence[float] | Tensor,
    *,
    fill: float | Literal["noise"] | None = None,
    draws: int = 16,
    steps: int = 200,
    eps: float | Float[Tensor, " n"] | None = None,
    group: Int[Tensor, " n"] | None = None,
    seed: int = 0,
) -> Recall:
    """Measure recall against masked area: the share of partly covered examples that iterate back to the whole.

    Images (the last two axes) are covered by one block of their own proportions at a random place, the same in all
    channels; vectors are covered at random coordinates. The mask of each copy grows with the area, so that curves are
    smooth. Sides are rounded to whole pixels; ``levels`` of the result are the shares that are really covered.

    Args:
        f: Self-map; modules in eval mode. Runs in the dtype and on the device of ``examples``.
        examples: Training examples.
        areas: Shares of the area, or of the coordinates, in [0, 1] and increasing; 0 is the example itself.
        fill: Value under the mask: a number, "noise" (uniform between the smallest and the largest value of all
            examples), or the mean of all values of all examples when left out.
        draws: Corrupted copies of each example.
        steps: Most iterations of each.
        eps: Radius of recall, one for all examples or one for each; :func:`memzoo.dynamics.example_eps` when left out.
        group: A number for each example; those of equal numbers count as one. When left out, near-copies
            (:func:`memzoo.dynamics.group_near_copies`) count as one if ``eps`` is left out too, else exact duplicates.
        seed: Seed of the masks, which have a generator of their own; the same seed gives the same masks.

    Returns:
        Cost: ``len(areas) * n * draws`` orbits; settled ones stop early.

    Raises:
        NonFiniteError: NaN or infinity in the examples or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.
        ValueError: Areas beyond [0, 1] or not increasing, ``fill``, ``draws``, ``steps`` or ``eps`` out of range.

    Example:
        >>> examples = torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]])
        >>> recall_against_mask(lambda x: x.mean(1, keepdim=True).sign().expand(x.shape), examples, [0, 0.5, 1]).rate
        tensor([1., 1., 0.], dtype=torch.float64)
    """
    check_batch(examples, "examples")
    shares = check_levels(areas, "areas")
    if shares[-1] > 1:
        raise InvalidArgumentError(
            f"areas are shares of the image in [0, 1], got {shares[-1]:g}; divide percentages by 100."
        )
    check_draws(draws)
    generator = torch.Generator().manual_seed(seed)
    masks = Masks(examples, draws, generator)
    cover = _fill_masks(examples, draws, fill, generator)

    def corrupt(area: float) -> Tensor:
        return torch.where(masks.build(area), cover, examples[:, None])

    found = _measure_recall(f, examples, shares, corrupt, steps, eps, group)
    return replace(found, levels=found.levels.new_tensor([masks.compute_true_area(area) for area in shares]))


def _measure_recall(
    f: Map,
    examples: Tensor,
    levels: list[float],
    corrupt: Callable[[float], Float[Tensor, "n draws *shape"]],
    steps: int,
    eps: float | Tensor | None,
    group: Tensor | None,
) -> Recall:
    """Follow the corrupted examples of all levels, and count where they end."""
    check_steps(steps)
    check_map(f, examples, promote_to_float64)
    radii = resolve_eps(eps, examples)
    group = resolve_groups(group, eps, examples)
    outcomes: list[Tensor] = []
    for level in levels:
        starts = corrupt(level)
        own = group.repeat_interleave(starts.shape[1])
        outcome = _judge_ends(f, starts.flatten(0, 1), own, examples, group, steps, radii)
        outcomes.append(outcome.unflatten(1, starts.shape[:2]))
    outcome = torch.stack(outcomes).double()  # levels, kinds, n, draws
    count = outcome.sum((2, 3)) / outcome[0, 0].numel()
    return Recall(
        levels=torch.tensor(levels, dtype=torch.float64, device=examples.device),
        rate=count[:, 0],
        per_example=outcome[:, 0].mean(-1),
        nearest=count[:, 1],
        confused=count[:, 2],
        input_nearest=count[:, 3],
        draws=outcome.shape[-1],
        steps=steps,
        eps=radii,
    )


def _judge_ends(
    f: Map, starts: Tensor, own: Tensor, examples: Tensor, group: Tensor, steps: int, eps: Tensor
) -> Bool[Tensor, "4 batch"]:
    """Tell of each start whether it meets four conditions.

    They are: recalled, nearest to its own example at the end, confused with another example, nearest at the start.

    Args:
        f: Self-map.
        starts: Corrupted examples.
        own: Group of the example that was corrupted.
        examples: All examples.
        group: Group of each example; those of one group count as one.
        steps: Most iterations.
        eps: Radius of each example.
    """
    orbit = iterate(f, starts, steps)
    # A diverged orbit is judged at its start, which is finite, and then counted as if it had ended nowhere.
    ended = ~orbit.diverged
    points = torch.where(ended.reshape(-1, *[1] * (starts.ndim - 1)), orbit.points, starts)
    start, example = close_pairs(points, examples, eps)
    is_own = group[example] == own[start]
    home = torch.zeros_like(ended)
    home[start[is_own]] = True
    elsewhere = torch.zeros_like(ended)
    elsewhere[start[~is_own]] = True
    near = group[nearest(points, examples).index] == own
    looked_up = group[nearest(starts, examples).index] == own
    return torch.stack([home & ended, near & ended, elsewhere & ~home & ended, looked_up])


def _fill_masks(examples: Tensor, draws: int, fill: float | str | None, generator: torch.Generator) -> Tensor:
    """Return what lies under the masks; it broadcasts to ``(n, draws, *shape)``."""
    if fill == "noise":
        shape = (len(examples), draws, *examples.shape[1:])
        u = torch.rand(shape, generator=generator, dtype=torch.float64).to(examples)
        return examples.min() + (examples.max() - examples.min()) * u
    if fill is None:
        return examples.double().mean().to(examples)
    if isinstance(fill, str) or not math.isfinite(fill):
        raise InvalidArgumentError(
            f"fill must be a finite number or 'noise', got {fill!r}; leave it out for the examples' mean."
        )
    return torch.tensor(fill, dtype=examples.dtype, device=examples.device)
