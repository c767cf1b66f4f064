"""Count where the orbits of many starts end: at which training example, or where else."""

import time
from collections import Counter
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_map, check_same_shape
from memzoo._types import Map
from memzoo.dynamics.attractors.estimate import announce_long_work
from memzoo.dynamics.attractors.limit_search import LimitSearch, check_search_limits, iterate_to_rest
from memzoo.dynamics.attractors.limit_sets import LimitSet
from memzoo.dynamics.intervals import Share, wilson
from memzoo.dynamics.orbits import (
    Nearest,
    find_first_members,
    format_eps,
    group_duplicates,
    iterate,
    nearest,
    resolve_eps,
    resolve_groups,
)
from memzoo.dynamics.tracing import leave_no_trace, promote_to_float64, widen_points
from memzoo.errors import InvalidArgumentError

SPURIOUS = -1
CYCLE = -2
DIVERGENT = -3
UNDECIDED = -4
CHECKED_ROWS = 5
"""Rows that are evaluated when a map is checked."""
SHOWN = 12
"""Limits in the printed table."""


@dataclass(frozen=True)
class Census:
    """What :func:`census` found, one row a start; prints as a table of the limits."""

    label: Int[Tensor, " batch"]
    """Index of the training example whose attractor the start ends in, else -1 another fixed point, -2 a cycle, -3
    divergent, -4 undecided. The first of examples that count as one gives the index: near-copies if ``eps`` was left
    out, else exact duplicates."""
    counts: dict[int, int]
    """Number of starts of each label that occurs, the largest first."""
    steps: Int[Tensor, " batch"]
    """Steps until the orbit settled or left the number range, at most those asked for."""
    distance: Float[Tensor, " batch"]
    """L2 distance from the end point to the nearest example; infinity where divergent."""
    margin: Float[Tensor, " batch"]
    """How much farther the nearest example is that does not count as one with the nearest; NaN where divergent."""
    points: Float[Tensor, "batch *shape"]
    """End points: the certified limit, at the start's own phase of a cycle, else the last (finite) point."""
    limit: Int[Tensor, " batch"]
    """Index into ``limits``, -1 where divergent or undecided."""
    limits: tuple[LimitSet, ...]
    """The fixed points and cycles that were reached, by the number of starts."""
    eps: Float[Tensor, " n"]
    """Radius of each example in L2 within which an attractor counts as the example's own."""
    confidence: float
    """Level of the intervals."""

    @property
    def continuum(self) -> bool:
        """Tell whether a start ends in a continuum of limits, such as the span of the examples under a projection."""
        return any(limit.continuum for limit in self.limits)

    def share(self, label: int) -> Share:
        """Estimate the share of the starts with this label, with its Wilson interval.

        The starts have to be drawn independently. The interval then holds for the volume of the basin under their
        distribution, and under no other.
        """
        return wilson(self.counts.get(label, 0), len(self.label), self.confidence)

    def __str__(self) -> str:
        interval = f"{100 * self.confidence:g} % interval"
        lines = [
            f"{len(self.label)} starts, eps = {format_eps(self.eps)}",
            f"{'end':<22}{'starts':>8}{'share %':>9}  {interval:<16}{'radius':>10}",
        ]
        shown = self.limits[:SHOWN]
        lines += [self._format_row(_name_limit(limit), limit.count, f"{limit.radius:.3f}") for limit in shown]
        rest = self.limits[SHOWN:]
        if rest:
            lines.append(self._format_row(f"and {len(rest)} more", sum(limit.count for limit in rest)))
        for label, name in ((DIVERGENT, "divergent"), (UNDECIDED, "undecided")):
            if label in self.counts:
                lines.append(self._format_row(name, self.counts[label]))
        return "\n".join(lines)

    def _format_row(self, name: str, count: int, radius: str = "") -> str:
        """Format a row of the table."""
        estimate, low, high = (100 * value for value in wilson(count, len(self.label), self.confidence))
        return f"{name:<22}{count:>8}{estimate:>9.1f}  {f'[{low:.1f}, {high:.1f}]':<16}{radius:>10}".rstrip()


def _name_limit(limit: LimitSet) -> str:
    """Name the kind of a limit, as in the table."""
    if limit.continuum:
        return "continuum" if limit.period == 1 else f"cycles of {limit.period}, continuum"
    if limit.kind == "training":
        return f"training {limit.example}"
    kind = "spurious" if limit.kind == "spurious" else f"cycle of {limit.period}"
    if limit.attracting:
        return kind
    return f"{kind}, unstable" if limit.unstable else f"{kind}, marginal"


@leave_no_trace
@torch.no_grad()
def census(
    f: Map,
    starts: Float[Tensor, "batch *shape"],
    examples: Float[Tensor, "n *shape"],
    *,
    steps: int = 1000,
    eps: float | Float[Tensor, " n"] | None = None,
    max_period: int = 64,
    max_limits: int = 256,
    confidence: float = 0.95,
) -> Census:
    r"""Decide where the orbit of each start ends: at a training example, at another fixed point, in a cycle, elsewhere.

    All starts are iterated. Their end points are grouped, and one of each group is certified as by
    :func:`memzoo.dynamics.certify`: polished to the true fixed point in float64, with its spectral radius. It is a
    *training* attractor if it lies within ``eps`` of an example and its radius is below 1 beyond the error bound. All
    other fixed points are labelled -1: spurious attractors, but also saddles and repellers that a start rests on, and
    fixed points whose radius is 1. For orbits that do not settle, cycles are sought: fixed points of :math:`f^p`, with
    the radius of :math:`f^p`. Different phases are one cycle. Chaos, quasi-periodic motion and orbits too slow for
    ``steps`` stay undecided (-4).

    A small step proves nothing about where an orbit ends, so one point of each group is certified. Another member of
    the group is assigned to the same limit only if its last step explains how far from the limit it is; otherwise it is
    certified itself. That is no proof, since a last step shows a distance to first order only. Fixed points that fill a
    line or a surface are recognised one by one: a small push comes to rest elsewhere. They make one entry, whatever
    isolated limits there are beside them. Each start is judged without the others, except where ``max_limits`` ends the
    search.

    End points are grouped on the scale of the median of ``eps``, so that the radius of one example decides about that
    example alone.

    Args:
        f: Self-map; modules in eval mode. Runs in the dtype and on the device of ``starts``.
        starts: Starts, drawn independently if the intervals are to mean something.
        examples: Training examples.
        steps: Most iterations of each start.
        eps: Radius, one for all examples or one for each; :func:`memzoo.dynamics.example_eps` when left out.
        max_period: Longest period looked for.
        max_limits: Most groups that are certified for one period; starts beyond them are undecided. A continuum of
            fixed points, where every start ends at another one, needs one.
        confidence: Level of the intervals of :meth:`Census.share`.

    Returns:
        Cost: ``steps`` evaluations of f on all starts, ``2 max_period`` on those that did not settle, a few on each
        start that ends in a continuum, and one certificate and up to four more orbits a group of end points.

    Raises:
        NonFiniteError: NaN or infinity in the points or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.
        ValueError: Starts and examples of different shapes, ``eps`` not positive or of another number than the
            examples.

    Example:
        >>> starts = torch.tensor([[0.3], [2.0], [-0.1], [0.0]])
        >>> found = census(lambda x: torch.tanh(3 * x), starts, torch.tensor([[1.0]]))
        >>> found.label
        tensor([ 0,  0, -1, -1])
        >>> [(limit.kind, limit.count, round(limit.radius, 2)) for limit in found.limits]
        [('training', 2, 0.03), ('spurious', 1, 0.03), ('spurious', 1, 3.0)]
    """
    check_batch(starts, "starts")
    check_batch(examples, "examples")
    check_same_shape(starts, examples, "starts and examples")
    check_search_limits(max_period, max_limits)
    if not 0 < confidence < 1:
        raise InvalidArgumentError(f"confidence must lie between 0 and 1, got {confidence!r}; 0.95 is usual.")
    radii = resolve_eps(eps, examples)
    group = resolve_groups(None, eps, examples)
    scale = radii.quantile(0.5).item()
    starts = widen_points(f, starts, "starts")
    started = time.perf_counter()
    check_map(f, starts, promote_to_float64)
    announce_long_work("census", f, starts, steps, len(starts) * (time.perf_counter() - started) / CHECKED_ROWS)

    # Only the first of exact duplicates takes part.
    first = group_duplicates(examples).first
    distinct = examples[first].to(starts.device)
    orbit = iterate_to_rest(f, iterate(f, starts, steps), scale, steps)
    search = LimitSearch(f, orbit.points, (distinct, radii[first].to(starts.device)), scale, steps, max_limits)
    search.find_fixed_points(orbit)
    search.find_cycles(~(orbit.converged | orbit.diverged), max_period)

    count = torch.bincount(search.limit[search.limit >= 0], minlength=len(search.found))
    order = count.argsort(descending=True, stable=True)
    named = find_first_members(group)[first]
    limits = tuple(_complete(search.found[i], named, int(count[i])) for i in order.tolist())
    rank = torch.cat([order.argsort(), order.new_tensor([-1])])  # the index -1, no limit, reads the last entry
    limit = rank[search.limit]
    labels = [*(_label_limit(entry) for entry in limits), UNDECIDED]
    label = torch.tensor(labels, device=limit.device)[limit]
    label[orbit.diverged] = DIVERGENT
    # Distances are not defined where an orbit diverged; any finite point takes its place.
    diverged = orbit.diverged.reshape(-1, *[1] * (starts.ndim - 1))
    finite_points = torch.where(diverged, distinct[0].to(starts.dtype), search.points)
    found = nearest(finite_points, distinct)
    second = _measure_second(finite_points, distinct, group[first].to(starts.device), found)
    return Census(
        label=label,
        counts=dict(Counter(label.tolist()).most_common()),
        steps=orbit.steps,
        distance=torch.where(orbit.diverged, torch.inf, found.distance),
        margin=torch.where(orbit.diverged, torch.nan, second - found.distance),
        points=search.points,
        limit=limit,
        limits=limits,
        eps=radii,
        confidence=confidence,
    )


def _measure_second(points: Tensor, examples: Tensor, group: Tensor, found: Nearest) -> Float[Tensor, " batch"]:
    """Measure the distance of each point to the nearest example of another group than that of its nearest example."""
    second = found.second.clone()
    for number in group.bincount().gt(1).nonzero().flatten():
        rows = (group[found.index] == number).nonzero().flatten()
        outside = examples[group != number]
        second[rows] = nearest(points[rows], outside).distance if len(rows) and len(outside) else torch.inf
    return second


def _complete(limit: LimitSet, named: Tensor, count: int) -> LimitSet:
    """Add the number of starts, and the number of the example by which its group is named among all examples."""
    return replace(limit, example=int(named[limit.example]) if limit.kind == "training" else -1, count=count)


def _label_limit(limit: LimitSet) -> int:
    """Return the label of the starts that end in a limit."""
    return {"training": limit.example, "spurious": SPURIOUS, "cycle": CYCLE}[limit.kind]
