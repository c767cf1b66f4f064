r"""Choose the steps of differences of a map: their lengths, their directions, and how much rounding they carry.

A network of many kinks needs small steps, rounding asks for large ones (Dennis and Schnabel, Numerical Methods for
Unconstrained Optimization, 5.4).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

NOISE = 100
"""Units in the last place, relative to |x| + |f(x)|, that the rounding of f is allowed. Changing the last bit of each
coordinate of x moves f(x) by less than 20 of them in all networks of the zoo, the deepest of which has 350 layers."""
NEAR_ZERO = 1e-3
"""Share of the usual norm of the points below which the norm of a point is no scale."""

PAIRS = 2
"""Random directions, each with its opposite, in which the sides of a kink are looked at."""
MOST_PAIRS = 16
"""The same in few dimensions."""
NUMBERS = 256
"""Numbers in these directions, where there are between the least and the most of them."""


class Steps(NamedTuple):
    """Steps of differences relative to the norm of the point, as multiples of the least one."""

    least: float
    fine: int
    coarse: int
    far: int
    """Step at which an output that rests must rest too."""
    room: float
    """Relative gap between a difference and the product with the Jacobian that is allowed."""
    move: float
    """Distance from a kink at which the check is repeated, relative to the norm of the point."""
    shortened: float
    """Least step that is tried where a longer one shows a bend: it may be a kink, or a map of a smaller scale."""
    beside: float
    """Least step at the points beside a kink, where more kinks are near than elsewhere."""


DOUBLE = Steps(1e-7, 1, 10, 10_000, 1e-4, 1e-3, 1e-9, 1e-8)
"""Steps in float64: a network of many kinks agrees to 1e-2 at 1e-5 and to 1e-6 at 1e-7."""
SINGLE = Steps(3e-4, 8, 32, 100, 0.2, 0.1, 3e-4, 3e-4)
"""Steps where some arithmetic is float32, which agrees to no more than some per cent at any step."""
BETWEEN = Steps(1e-3, 1, 10, 100, 1e-4, 0.1, 1e-3, 1e-3)
"""Steps relative to the distance between two fixed points: none leads more than a tenth of the way."""


def choose_steps(eps: float) -> Steps:
    """Choose the steps for the arithmetic of a map: some of it may be float32."""
    return DOUBLE if eps < 1e-12 else SINGLE


@dataclass(frozen=True)
class Surroundings:
    """What is known of the points around those that are checked."""

    scale: float
    """Usual norm of a point; 0 if all points are the origin."""
    low: float
    """Least coordinate of all points."""
    high: float
    """Largest coordinate of all points."""

    def width(self, dim: int) -> float:
        """Return the diagonal of the box that holds all points; infinity if it holds one value alone."""
        return (self.high - self.low) * dim**0.5 or math.inf

    def move_inside(
        self, points: Float[Tensor, "batch dim"], distance: Float[Tensor, " batch"], generator: torch.Generator
    ) -> Float[Tensor, "batch dim"]:
        """Move every coordinate of the points by a small distance to a random side, but not out of the box.

        No coordinate moves by much less than the others, because it might stay at its kink.
        """
        dim = points.shape[1]
        side = torch.randint(0, 2, (dim,), generator=generator) * 2 - 1
        length = 0.5 + torch.rand(dim, generator=generator, dtype=torch.float64)
        offset = distance[:, None] / dim**0.5 * (side * length).to(points)
        moved = points + offset
        if self.high - self.low > 4 * float(offset.abs().max()):
            leaves = ((moved < self.low) | (moved > self.high)) & (points >= self.low) & (points <= self.high)
            moved = torch.where(leaves, points - offset, moved)
        return moved


def describe_surroundings(points: Float[Tensor, "batch dim"], unit: float = 0.0) -> Surroundings:
    """Describe the region that the points fill; if all are the origin, its scale is the ``unit``."""
    norms = torch.linalg.vector_norm(points.double(), dim=1)
    positive = norms[norms > 0]
    scale = float(positive.median()) if len(positive) else unit
    return Surroundings(scale, float(points.min()), float(points.max()))


def choose_scale(
    points: Float[Tensor, "batch dim"], images: Float[Tensor, "batch dim"], usual: float
) -> Float[Tensor, " batch"]:
    """Choose the length to which the steps at each point are relative.

    That is the norm of the point. Near the origin the norm is an accident, and the distances at which the map changes
    are those of the data: their ``usual`` norm; else that of f(x), to which the origin is sent; else 1.
    """
    if not usual:
        sizes = torch.linalg.vector_norm(images, dim=1)
        positive = sizes[sizes > 0]
        usual = float(positive.median()) if len(positive) else 1.0
    norms = torch.linalg.vector_norm(points, dim=1)
    return torch.where(norms >= NEAR_ZERO * usual, norms, usual)


def allow_rounding(
    points: Float[Tensor, "batch dim"], images: Float[Tensor, "batch dim"], eps: float
) -> Float[Tensor, " batch"]:
    """Return the rounding that one value f(x) is allowed, in arithmetic whose rounding unit is ``eps``."""
    return NOISE * eps * (torch.linalg.vector_norm(points, dim=1) + torch.linalg.vector_norm(images, dim=1))


def draw_directions(
    points: Float[Tensor, "batch dim"], others: Float[Tensor, "batch dim"]
) -> Float[Tensor, "2 batch dim"]:
    """Draw two unit directions a point: a random one, and the one towards another point, if it is another."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, points.shape[1], generator=generator, dtype=torch.float64).to(points)
    towards = others - points
    length = torch.linalg.vector_norm(towards, dim=1, keepdim=True)
    second = torch.where(length > 0, towards, drawn[1])
    directions = torch.stack([drawn[0].expand_as(points), second])
    return directions / torch.linalg.vector_norm(directions, dim=2, keepdim=True)


def draw_pairs(points: Float[Tensor, "batch dim"]) -> Float[Tensor, "directions batch dim"]:
    """Draw unit vectors and their opposites, the same at all points; more where they cost little."""
    dim = points.shape[1]
    pairs = min(MOST_PAIRS, max(PAIRS, NUMBERS // dim))
    generator = torch.Generator().manual_seed(2)
    drawn = torch.randn(pairs, dim, generator=generator, dtype=torch.float64)
    drawn = (drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True)).to(points)
    return torch.cat([drawn, -drawn])[:, None].expand(-1, len(points), dim)
