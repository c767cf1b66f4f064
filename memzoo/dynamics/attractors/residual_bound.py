r"""Rule out that a fixed point lies near an example, without following its orbit.

Let :math:`u = r / \|r\|` with the residual :math:`r = f(x) - x` of an example x. By the mean value theorem, for every y
within :math:`\epsilon` of x,

.. math:: \langle u, f(y) - y \rangle \ge \|r\| - \epsilon \, \sup_z \|(J(z) - I)^T u\| ,

where z runs through the ball. If the right side is positive, there is no fixed point in the ball. Only one direction of
the Jacobian matters: the bound does not care how far from normal it is. The supremum is taken over a few points of the
ball, those among them to which the left side falls fastest, and doubled.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._attempt import Attempt
from memzoo._types import Map
from memzoo.dynamics.spectra import FlatMap, flatten_map, pull_back_batch_by_autograd

MARGIN = 2.0
"""Factor on the largest slope that was seen."""
AT_ONCE = 16
"""Examples at which f is evaluated and differentiated at one time."""
LEFT = 0.5
"""Share of the residual that must be left at the points that are tried."""


@torch.no_grad()
def rule_out_fixed_points(
    f: Map,
    examples: Float[Tensor, "n *shape"],
    eps: Float[Tensor, " n"],
    group: Int[Tensor, " n"],
) -> Bool[Tensor, " n"]:
    """Tell for which examples no fixed point lies within ``eps`` of them, nor of any that counts as one with them.

    Args:
        f: Self-map.
        examples: Examples.
        eps: Radius of each.
        group: Examples of equal numbers count as one.

    Returns:
        A flag for each example.

    Cost: 8 evaluations of f and 4 reverse products an example, in the type of the examples: the margin is far beyond
    its rounding.
    """
    function = flatten_map(f, examples.shape[1:])
    largest = torch.zeros(int(group.max()) + 1, dtype=torch.float64, device=eps.device)
    radius = largest.scatter_reduce(0, group, eps.double(), "amax")[group]
    ruled_out = torch.zeros_like(radius, dtype=torch.bool)
    flat = examples.flatten(1)
    with Attempt(RuntimeError):  # what autograd cannot do
        for rows in torch.arange(len(flat), device=eps.device).split(AT_ONCE):
            ruled_out[rows] = _keep_a_residual(function, flat[rows], radius[rows].to(flat))
    every = torch.ones_like(largest).scatter_reduce(0, group, ruled_out.double(), "amin")
    return every[group] > 0


def _keep_a_residual(f: FlatMap, x: Tensor, radius: Tensor) -> Bool[Tensor, " n"]:
    """Tell around which flat points the residual is bounded away from zero."""
    residual = f.map_batch(x) - x
    size = torch.linalg.vector_norm(residual, dim=1, keepdim=True)
    u = residual / size
    slope = pull_back_batch_by_autograd(f, x, u) - u
    steepest = torch.linalg.vector_norm(slope, dim=1)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(x.shape[1], generator=generator, dtype=torch.float64).to(x).expand_as(x)
    for direction in (-slope, u, drawn):
        length = torch.linalg.vector_norm(direction, dim=1, keepdim=True)
        y = x + radius[:, None] * direction / length
        left = (u * (f.map_batch(y) - y)).sum(1)
        there = torch.linalg.vector_norm(pull_back_batch_by_autograd(f, y, u) - u, dim=1)
        # Comparisons with NaN are false.
        steepest = torch.where(left >= LEFT * size[:, 0], torch.maximum(steepest, there), torch.inf)
    return MARGIN * radius * steepest < size[:, 0]
