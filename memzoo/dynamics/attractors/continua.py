"""Find fixed points that are not isolated: a push along a continuum comes to rest elsewhere on it."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from memzoo._attempt import Attempt
from memzoo._types import Map
from memzoo.dynamics.tracing import accelerate_convolutions_in_dtype, promote_to_float64

BLOCK = 1024
"""Points that are pushed at one time."""
PUSH = 0.1
"""Times eps: length of the long push."""
RESOLVED = 1e4
"""Least length of a short push in one direction, in units in the last place of the point."""
ROUNDING = 64
"""Units in the last place, relative: what the arithmetic of the orbits cannot tell from nothing."""
WIDEST = 0.03
"""Most that rounding may hide of the distance of a radius from 1: four units in the last place of bfloat16."""
DERIVATIVE = 100
"""Units in the last place, relative: rounding of a product with the derivative."""
CURVED = 1e-3
"""Relative change of the difference of two points of one continuum, by its curvature."""
PRECISE = 1e-6
"""Relative precision of a difference that tells a continuum from a slow attractor without a derivative."""


def resolve_radius(dtype: torch.dtype) -> float:
    """Return how far from 1 a radius has to be before the arithmetic of the orbits tells it from 1.

    Types of half precision have units so large that only a few of them count.
    """
    return min(ROUNDING * torch.finfo(dtype).eps, WIDEST)


class Pushed(NamedTuple):
    """What small pushes tell about fixed points, one entry a point."""

    continuum: Bool[Tensor, " m"]
    """A push comes to rest elsewhere nearby, however short it is: the point is one of a continuum of fixed points."""
    leaves: Bool[Tensor, " m"]
    """A push leads farther away than eps."""


def push_fixed_points(f: Map, points: Float[Tensor, "m *shape"], eps: float, steps: int) -> Pushed:
    r"""Push each fixed point to two opposite sides, and tell from the two orbits whether it is isolated.

    Let :math:`d_t` be the difference of the pushed orbit and of the orbit of the point itself. In a continuum it comes
    to a stop, :math:`d_{t+1} = d_t \ne 0`, after a long push (after which a point such as 0 of :math:`u - u^3`, slower
    than any power, still moves) and after a short one (which does not lead into the basin of another attractor). The
    derivative must agree, :math:`J d = d`, because differences of narrow types cannot tell 1 from 0.999.

    Each point is judged alone and pushed in the same direction, so that the answer does not depend on the others.

    Args:
        f: Self-map, for cycles the p-fold composition.
        points: Points where orbits have come to rest, or nearly so.
        eps: Scale of distances, L2. The long push has a tenth of it.
        steps: Most iterations after a push.

    Returns:
        Cost: two evaluations of ``f`` a push and step, in float64 if ``f`` can compute in it; an isolated attractor
        takes as many steps as the push needs to decay to a thousandth.
    """
    blocks = [_push_block(f, block, eps, steps) for block in points.split(BLOCK)]
    return Pushed(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def moves_along(f: Map, points: Float[Tensor, "m *shape"], others: Float[Tensor, "m *shape"]) -> Bool[Tensor, " m"]:
    r"""Tell whether the derivative midway between two fixed points leaves their difference d as it is, :math:`J d = d`.

    So it is in a continuum, up to the square of the length of d (curvature). Between two isolated fixed points it is
    not, except by chance. False if ``f`` has no forward mode.
    """
    wide, base = promote_to_float64(f, points)
    difference = others.to(base.dtype) - base
    with Attempt(Exception):  # operations without forward mode may raise anything
        change = (_push_forward(wide, base + difference / 2, difference) - difference).flatten(1).norm(dim=1)
        return change <= CURVED * difference.flatten(1).norm(dim=1)
    return torch.zeros(len(points), dtype=torch.bool, device=points.device)


def _push_block(f: Map, points: Tensor, eps: float, steps: int) -> Pushed:
    """Push the points of one block."""
    wide, base = promote_to_float64(f, points)
    quick = accelerate_convolutions_in_dtype(f, base, base.dtype) or wide
    dim = points[0].numel()
    u = torch.randn(points.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direction = (u / u.norm()).to(base)
    ulp = torch.finfo(base.dtype).eps * base.flatten(1).norm(dim=1).double()
    # A push has some length / sqrt(d) along a given direction, such as that of a line of fixed points.
    resolved = RESOLVED * dim**0.5 * ulp
    longest = (0.1 * resolved).clamp(min=PUSH * eps)
    shortest = resolved.clamp(min=1e-8 * PUSH * eps).minimum(longest)
    farthest = (longest / PUSH).clamp(min=eps).repeat(2)
    tolerance = resolve_radius(points.dtype) + min(DERIVATIVE * torch.finfo(base.dtype).eps, WIDEST)

    # Both sides of all points are pushed together; entry i and entry i + m belong to the same point.
    start = torch.cat([base, base])
    ulp = ulp.repeat(2)
    sides = torch.tensor([1.0, -1.0], dtype=base.dtype, device=base.device).repeat_interleave(len(base))
    rows = torch.arange(len(start), device=start.device)
    leaves = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    inside = torch.zeros_like(leaves)
    for lengths in (longest.repeat(2), shortest.repeat(2)):
        length = lengths[rows]
        push = (sides[rows] * length.to(base.dtype)).reshape(-1, *[1] * (base.ndim - 1)) * direction
        least = torch.maximum(1e-3 * length / dim**0.5, 100 * ulp[rows])
        pair = _Pair(quick, start[rows])
        motion = _Motion(pair.advance, push, least, 16 * ulp[rows], tolerance)
        motion.follow(steps, farthest[rows])
        leaves[rows[motion.gone]] = True
        rows = rows[motion.rests]
        if not len(rows):
            break
    if len(rows):
        confirmed = _confirm_by_derivative(wide, pair.base[motion.rests], motion.select(motion.rests), steps)
        inside[rows[confirmed]] = True
    continuum = inside.reshape(2, -1).any(0)
    return Pushed(continuum, leaves.reshape(2, -1).any(0) & ~continuum)


class _Pair:
    """Hold the orbits of points, and apply the map to points beside them."""

    def __init__(self, f: Map, base: Tensor) -> None:
        self._f = f
        self.base: Tensor = base.clone()

    def advance(self, rows: Tensor, difference: Tensor) -> Tensor:
        """Move the orbits of ``rows``, and return where their differences from the others lead."""
        own = self.base[rows]
        images = self._f(torch.cat([own, own + difference])).to(own.dtype)
        self.base[rows], beside = images.split(len(rows))
        return beside - self.base[rows]


class _Motion:
    """Follow differences of orbits until each has come to a stop, has returned to zero, or is gone.

    Args:
        advance: Function from some rows and their differences to the differences one step later.
        difference: Differences at the beginning.
        least: Lengths up to which a difference has returned.
        noise: Rounding of the difference of two points.
        tolerance: Relative change of a difference that counts as none.
    """

    def __init__(
        self,
        advance: Callable[[Tensor, Tensor], Tensor],
        difference: Tensor,
        least: Float[Tensor, " m"],
        noise: Float[Tensor, " m"],
        tolerance: float,
    ) -> None:
        self._advance = advance
        self.difference: Tensor = difference.clone()
        self.least: Tensor = least
        self.noise: Tensor = noise
        self.tolerance: float = tolerance
        self.rests: Tensor = torch.zeros(len(difference), dtype=torch.bool, device=difference.device)
        """The difference has come to a stop, and is not zero."""
        self.gone: Tensor = torch.zeros_like(self.rests)
        """The difference has become too long, or is not finite."""

    def select(self, rows: Bool[Tensor, " m"]) -> "_Motion":
        """Return the motion of some of the differences from where they are now on."""
        return _Motion(self._advance, self.difference[rows], self.least[rows], self.noise[rows], self.tolerance)

    def follow(self, steps: int, farthest: Float[Tensor, " m"]) -> None:
        """Take at least one step and at most ``steps``; what stops farther away than ``farthest`` is gone."""
        rows = torch.arange(len(self.difference), device=self.difference.device)
        for _ in range(max(steps, 1)):
            before = self.difference[rows]
            after = self._advance(rows, before)
            length = after.flatten(1).norm(dim=1).double()
            change = (after - before).flatten(1).norm(dim=1).double()
            self.difference[rows] = after
            stops = change <= self.tolerance * length + self.noise[rows]
            returned = length <= self.least[rows]
            # Transients may be long for a while; not finite is gone, too.
            gone = ~(length < 1e3 * farthest[rows]) | (stops & (length >= farthest[rows]))
            self.gone[rows[gone]] = True
            self.rests[rows[stops & ~returned & ~gone]] = True
            rows = rows[~(stops | returned | gone)]
            if not len(rows):
                return
        self.gone[rows[self.difference[rows].flatten(1).norm(dim=1) >= farthest[rows]]] = True


def _confirm_by_derivative(f: Map, base: Tensor, motion: _Motion, steps: int) -> Bool[Tensor, " m"]:
    """Confirm that the derivative leaves the differences where they have come to a stop.

    The derivative is that midway between both orbits: in a curved continuum the difference of two of its points is an
    eigenvector there, up to the square of its length. It has no noise of the size of the points.
    """
    middle = base + motion.difference / 2

    def advance(rows: Tensor, difference: Tensor) -> Tensor:
        return _push_forward(f, middle[rows], difference)

    linear = _Motion(advance, motion.difference, motion.least, torch.zeros_like(motion.noise), motion.tolerance)
    with Attempt(Exception):  # operations without forward mode may raise anything
        linear.follow(steps, torch.full_like(linear.least, torch.inf))
        return linear.rests
    return motion.noise <= PRECISE * motion.difference.flatten(1).norm(dim=1)


def _push_forward(f: Map, points: Tensor, vectors: Tensor) -> Tensor:
    """Multiply vectors by the Jacobians at the points, in forward mode."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.jit.script")  # torch's own code
        return jvp(f, (points,), (vectors,))[1]
