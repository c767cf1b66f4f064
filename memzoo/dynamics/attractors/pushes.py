"""Push fixed points a little, and follow whether the pushes grow.

At a kink or a jump the Jacobian is that of one side, and where a map rounds its outputs the Jacobian is 0 whatever the
map does. There the map itself has to say whether nearby orbits return. Many directions are tried by one step. The
orbits that grow most, and those in two opposite random directions, are followed until they come back or leave.

A push is brought back to its first length after each step, and the factors are multiplied. This is the power iteration
of a piecewise linear map: growth that sets in late is seen however much the orbit shrank before, and an orbit that
swings out before it returns (Trefethen and Embree, Spectra and Pseudospectra, 2005, chapter 16) stays where the
behaviour near the point holds. Where the outputs rest, the first step says little about the others: pushes in many
directions are followed as they are.
"""

import hashlib
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.spectra import ROWS

NUMBERS = 2**14
"""Numbers in the random directions that are tried at one point."""
LEAST_PAIRS = 5
"""Random directions, each with its opposite, that are tried in many dimensions."""
MOST_PAIRS = 256
"""The same in few dimensions."""
SPECIAL = 3
"""Directions that are tried beside the random ones."""
FOLLOWED = 2
"""Directions of largest growth in the first step that are followed, beside one random direction and its opposite."""
FOLLOWED_AS_THEY_ARE = 64
"""Directions that are followed at a point whose outputs rest, of those that are tried."""
FIRST_LOOK = 8
"""Steps until it is first asked whether a push has come back; then after twice as many, and so on."""
PATIENCE = 64
"""Steps from which on a push has come back if it does not grow; before, it has to be clearly shrinking."""
ROOM = math.log(1.01)
"""Growth, as a logarithm, that the rounding of the orbit explains."""
HALVED = -math.log(2)
"""Growth, as a logarithm, of a push that is clearly shrinking."""
HIDDEN = 100
"""Divides the usual share of a random direction in another one: where a derivative holds on one side of a kink alone,
a push has to shrink to this, because a part of it that grows on the other side would be longer by then."""
LATE = 1024
"""Steps from which on a push at a kink that does not shrink is followed no further."""
LEFT = math.log(1e8)
"""Growth from which on a push has left: its length in float64 is then as good as unknown."""


@dataclass(frozen=True)
class Pushes:
    """What became of the pushes, one row a point."""

    return_home: Bool[Tensor, " n"]
    """No push grows in the long run."""
    amplification: Float[Tensor, " n"]
    """Sum of the lengths over all steps, in units of the first: how many times an error of one step adds up until it is
    forgotten."""


def push_points(
    f: Map,
    points: Float[Tensor, "n *shape"],
    origins: Float[Tensor, "n *shape"],
    length: Float[Tensor, " n"],
    steps: int,
    coarse: Bool[Tensor, " n"],
    kinked: Bool[Tensor, " n"],
) -> Pushes:
    """Push each point in many directions and follow what grows.

    The directions at a point are drawn from a generator whose seed is made of its origin, so that they depend neither
    on the other points nor on their order.

    Args:
        f: Self-map, in the arithmetic of ``points``.
        points: Fixed points.
        origins: Examples that the points belong to.
        length: Lengths of the pushes, L2.
        steps: Most steps of each push.
        coarse: Points whose pushes are followed as they are, for maps that are constant on smaller scales.
        kinked: Points whose derivative is that of one side of a kink.

    Returns:
        Cost: one evaluation of f on 16 pushes a point (more in few dimensions), and one on four for each step followed;
        on up to 64 where the outputs rest.
    """
    dim = points[0].numel()
    # A push that is followed as it is may rest anywhere near its end, as under the identity rounded to some digits.
    enough = torch.where(coarse, HALVED, ROOM).masked_fill(kinked, -math.log(HIDDEN * dim**0.5))
    home = torch.zeros_like(coarse)
    gain = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    # Many points at a time: the pushes that are followed, not those that are tried by one step, fill a batch.
    fine_blocks = _split(~coarse, ROWS // (2 + FOLLOWED))
    for rows in [*fine_blocks, *_split(coarse, ROWS // FOLLOWED_AS_THEY_ARE)]:
        pushed = _PushedPoints(f, points[rows], length[rows])
        directions = torch.stack([_draw_directions(origins[row], points[row]) for row in rows.tolist()])
        chosen = directions[:, :FOLLOWED_AS_THEY_ARE]
        if not coarse[rows[0]]:
            chosen = _choose_directions(pushed, directions)
        found = _follow(pushed, chosen, steps, coarse[rows], enough[rows])
        home[rows] = found.return_home
        gain[rows] = found.amplification
    return Pushes(home, gain)


def _split(marked: Bool[Tensor, " n"], most: int) -> list[Int[Tensor, " m"]]:
    """Split the rows that are marked into blocks of at most so many."""
    return [rows for rows in marked.nonzero().flatten().split(most) if len(rows)]


class _PushedPoints:
    """Apply a map to points that are moved off some given points.

    Args:
        f: Self-map.
        points: Points.
        length: Unit of the displacements at each point.
    """

    def __init__(self, f: Map, points: Tensor, length: Tensor) -> None:
        self.f: Map = f
        self.points: Tensor = points
        self.unit: Tensor = length.to(points)[:, None, None]
        self.image: Tensor = f(points).flatten(1)[:, None]

    def apply(self, rows: Int[Tensor, " n"], moved: Float[Tensor, "n m d"]) -> Float[Tensor, "n m d"]:
        """Return the displacements of some of the points after one step, in units of ``length`` like those given."""
        unit = self.unit[rows]
        starts = self.points.flatten(1)[rows, None] + unit * moved
        parts = starts.reshape(-1, *self.points.shape[1:]).split(ROWS)
        ends = torch.cat([self.f(part) for part in parts]).reshape(moved.shape)
        return (ends - self.image[rows]) / unit


def _count_pairs(dim: int) -> int:
    """Return how many random directions are tried, each with its opposite: more where they cost little."""
    return min(MOST_PAIRS, max(LEAST_PAIRS, NUMBERS // (2 * dim)))


def _draw_directions(origin: Tensor, point: Tensor) -> Float[Tensor, "m d"]:
    """Draw unit vectors and their opposites, the first of which are random.

    The others are those in which data differ most: all values together, along the point, and back to its origin.
    """
    seed = hashlib.blake2b((origin.double() + 0.0).cpu().contiguous().numpy().tobytes(), digest_size=8)
    generator = torch.Generator().manual_seed(int.from_bytes(seed.digest(), "little") >> 1)
    flat = point.flatten()
    drawn = torch.randn(_count_pairs(len(flat)), len(flat), generator=generator, dtype=torch.float64)
    special = torch.stack([torch.ones_like(flat), flat, origin.flatten().to(flat) - flat])
    directions = torch.cat([drawn.to(flat), special])
    size = directions.norm(dim=1, keepdim=True)
    # A point at the origin, or at its example, has no direction of its own.
    directions = torch.where(size > 0, directions / size, directions[:1] / size[:1])
    return torch.stack([directions, -directions], 1).flatten(0, 1)


def _choose_directions(pushed: _PushedPoints, directions: Float[Tensor, "n m d"]) -> Float[Tensor, "n k d"]:
    """Choose one random direction, its opposite, and those that grow most in one step."""
    every_row = torch.arange(len(directions), device=directions.device)
    growth = pushed.apply(every_row, directions).norm(dim=-1)
    largest = growth.nan_to_num(nan=torch.inf).topk(min(FOLLOWED, growth.shape[1]), dim=1).indices
    chosen = directions.gather(1, largest[:, :, None].expand(-1, -1, directions.shape[-1]))
    return torch.cat([directions[:, :2], chosen], 1)


def _follow(
    pushed: _PushedPoints,
    moved: Float[Tensor, "n k d"],
    steps: int,
    coarse: Bool[Tensor, " n"],
    enough: Float[Tensor, " n"],
) -> Pushes:
    """Follow the pushes of each point until all of them have come back, or one has left.

    Args:
        pushed: Points and their map.
        moved: Pushes.
        steps: Most steps.
        coarse: Points whose pushes are followed as they are.
        enough: Growth, as a logarithm, at which a push may have come back.
    """
    count = len(moved)
    home = torch.zeros(count, dtype=torch.bool, device=moved.device)
    gain = torch.full((count,), torch.inf, dtype=torch.float64, device=moved.device)
    rows = torch.arange(count, device=moved.device)
    # Logarithms of the lengths in units of the first.
    growth = torch.zeros(moved.shape[:2], dtype=torch.float64, device=moved.device)
    total = torch.ones_like(growth)
    at_half = growth
    before = moved
    look = FIRST_LOOK
    for step in range(1, steps + 1):
        moved = pushed.apply(rows, moved)
        size = torch.linalg.vector_norm(moved, dim=-1)
        as_it_is = coarse[rows, None]
        growth = size.log().double() + torch.where(as_it_is, 0.0, growth)
        total = total + growth.exp()
        # A push that the map takes back altogether has no direction any more.
        unit = torch.where(as_it_is | (size == 0), 1.0, size)
        moved = moved / unit[:, :, None]
        if step < look:
            continue
        look = 2 * step
        stays = (growth < LEFT).all(1)  # False where an end is not finite
        back = stays & _have_come_back(growth, growth - at_half, step, enough[rows])
        home[rows] = back
        gain[rows[back]] = total[back].amax(1)
        going_on = stays & ~back & ~_repeat_elsewhere(moved, before, growth, coarse[rows])
        if step >= LATE:
            going_on &= (enough[rows] == ROOM) | _still_shrink(growth, growth - at_half, enough[rows])
        if not going_on.any():
            break
        rows, moved, growth, total = rows[going_on], moved[going_on], growth[going_on], total[going_on]
        at_half = growth
        before = moved
    return Pushes(home, gain)


def _have_come_back(
    growth: Float[Tensor, "n k"], since_half: Float[Tensor, "n k"], step: int, enough: Float[Tensor, " n"]
) -> Bool[Tensor, " n"]:
    """Tell at which points every push is short enough, and has not grown in the second half of its steps."""
    shrinks = since_half <= (ROOM if step >= PATIENCE else HALVED)
    return (growth.isneginf() | ((growth <= enough[:, None]) & shrinks)).all(1)


def _still_shrink(
    growth: Float[Tensor, "n k"], since_half: Float[Tensor, "n k"], enough: Float[Tensor, " n"]
) -> Bool[Tensor, " n"]:
    """Tell at which points every push is short enough, or has shrunk in the second half of its steps."""
    return ((growth <= enough[:, None]) | (since_half < 0)).all(1)


def _repeat_elsewhere(
    moved: Float[Tensor, "n k d"],
    before: Float[Tensor, "n k d"],
    growth: Float[Tensor, "n k"],
    coarse: Bool[Tensor, " n"],
) -> Bool[Tensor, " n"]:
    """Tell at which points a push that is followed as it is repeats itself elsewhere, and so never comes back.

    Orbits of a map that rounds its outputs soon repeat to the last bit, where a period divides the steps since
    ``before``.
    """
    return coarse & ((moved == before).all(2) & (growth > HALVED)).any(1)
