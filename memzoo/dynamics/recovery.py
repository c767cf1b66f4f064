"""Which examples the orbits of many starts come close to, and when: the recovery probability R_t of the paper."""

import inspect
import warnings
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from memzoo._checks import check_batch, check_eps, check_module, check_same_shape, check_steps
from memzoo._types import Map
from memzoo.dynamics.distance import close_pairs, default_eps
from memzoo.dynamics.orbit import March


class HasLinearOutput(Protocol):
    """A module whose last layer is a plain linear one, so that its outputs fill an affine subspace."""

    def output_layer(self) -> nn.Linear | None:
        """The last layer, None where something nonlinear follows it."""
        ...


@dataclass(frozen=True)
class RecoveryCurve:
    """What :func:`recovery_curve` found; T is the number of steps, n of examples, B of starts."""

    rate: Float[Tensor, " time"]
    """R_t for t = 0..T: share of examples with some start's orbit within ``eps`` of them at time t."""
    ever: Float[Tensor, " time"]
    """Share of examples recovered at or before t. R_t itself need not be monotone."""
    arrived: Float[Tensor, " time"]
    """Share of starts within ``eps`` of some example at time t."""
    recovered_at: Int[Tensor, " n"]
    """First t at which each example is recovered, -1 if never."""
    ended_at: Int[Tensor, " batch"]
    """Example within ``eps`` of each start's last point, -1 if none (any of them, where ``eps`` lets balls overlap)."""
    unrecoverable: Bool[Tensor, " n"]
    """Proven: no orbit comes within ``eps`` of the example at any t >= 1, from any start."""
    eps: float
    """Radius in L2, given or derived from the examples."""
    points: Float[Tensor, "batch *shape"]
    """Last point of each orbit."""


@torch.no_grad()
def recovery_curve(
    f: Map,
    starts: Float[Tensor, "batch *shape"],
    examples: Float[Tensor, "n *shape"],
    steps: int = 200,
    eps: float | None = None,
    *,
    tol: float | None = 0.0,
    block: int = 1024,
) -> RecoveryCurve:
    r"""Recovery probability :math:`R_t = P_{x_0}(\min_z \|f^t(z) - x_0\|_2 < \epsilon)` (Section 3 of the paper).

    The probability is over the examples and the minimum over the starts. Distances are decided in float64 for the
    points as computed, at every ``eps``.

    Args:
        f: Self-map; modules in eval mode.
        starts: Points z the iteration starts from, held out from training or noise.
        examples: Training examples.
        steps: T, the number of iterations.
        eps: Radius of recovery; :func:`memzoo.dynamics.default_eps` of the examples when left out.
        tol: Relative step at which an orbit is frozen. 0, the default, freezes only orbits that no longer move at all,
            which is exact; None takes the resolution of the arithmetic, as :func:`memzoo.dynamics.iterate` does:
            several times faster, and blind to a drift of single units in the last place.
        block: Rows evaluated at one time.

    Raises:
        NonFiniteError: NaN or infinity in the points or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.
        ValueError: Starts and examples of different shapes, ``eps`` not positive.

    Warns:
        UserWarning: ``eps`` is near the resolution of the arithmetic.

    Example:
        >>> examples = torch.tensor([[1.0], [-1.0]])
        >>> curve = recovery_curve(lambda x: x.sign(), torch.tensor([[0.3], [2.0]]), examples)
        >>> curve.rate[:3], curve.ended_at
        (tensor([0.0000, 0.5000, 0.5000]), tensor([0, 0]))
    """
    check_batch(starts, "starts")
    check_batch(examples, "examples")
    check_same_shape(starts, examples, "starts and examples")
    check_module(f)
    check_steps(steps)
    eps = default_eps(examples) if eps is None else eps
    check_eps(eps)
    resolution = 100 * torch.finfo(starts.dtype).eps * examples.flatten(1).norm(dim=1).max().item()
    if eps < resolution:
        warnings.warn(
            f"eps = {eps:.2g} is near the resolution of {starts.dtype} orbits at this scale ({resolution:.2g}): "
            "attractors may count as not recovered; iterate in float64 or raise eps.",
            stacklevel=2,
        )

    examples = examples.to(starts.dtype)
    march = March(f, starts, tol=tol, block=block)
    ended_at = torch.full((len(starts),), -1, device=starts.device)
    recovered_at = torch.full((len(examples),), -1, device=starts.device)
    settled_hit = torch.zeros(len(examples), dtype=torch.bool, device=starts.device)
    rate, ever, arrived = [], [], []
    for t in range(steps + 1):
        moving = march.active  # the others stand still: their examples are in settled_hit
        hit = settled_hit.clone()
        if t:
            march.step()
        if len(moving):
            row, column = close_pairs(march.points[moving], examples, eps)
            hit[column] = True
            ended_at[moving] = -1
            ended_at[moving[row]] = column
            still = torch.isin(moving, march.active)
            settled_hit[column[~still[row]]] = True
        recovered_at[hit & (recovered_at < 0)] = t
        rate.append(hit.float().mean())
        ever.append((recovered_at >= 0).float().mean())
        arrived.append((ended_at >= 0).float().mean())
    return RecoveryCurve(
        rate=torch.stack(rate),
        ever=torch.stack(ever),
        arrived=torch.stack(arrived),
        recovered_at=recovered_at,
        ended_at=ended_at,
        unrecoverable=_unrecoverable(f, examples, eps),
        eps=eps,
        points=march.points,
    )


def _unrecoverable(f: Map, examples: Tensor, eps: float) -> Tensor:
    """Examples farther than eps from every possible output: f(x) = W h + b lies in b + range(W)."""
    method = getattr(f, "output_layer", None)  # see HasLinearOutput; a layer of that name is no such method
    layer = method() if inspect.ismethod(method) else None
    if layer is None:
        return torch.zeros(len(examples), dtype=torch.bool, device=examples.device)
    x = examples.flatten(1).double()
    bias = 0 if layer.bias is None else layer.bias.double()
    basis = torch.linalg.qr(layer.weight.double()).Q  # holds the range also where W has no full rank
    shifted = x - bias
    offset = (shifted - shifted @ basis @ basis.mT).norm(dim=1)
    slack = 1e-4 * shifted.norm(dim=1)  # orbits in float32 leave the subspace by rounding
    return offset > eps + slack
