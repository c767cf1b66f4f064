"""Which examples the orbits of many starts come close to, and when: the recovery probability R_t of the paper."""

import math
import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_eps, check_module, check_same_shape, check_steps
from memzoo._types import Map
from memzoo.dynamics.orbits.distance import default_eps, distinct, nearest
from memzoo.dynamics.orbits.distance_bounds import blocks
from memzoo.dynamics.orbits.neighbours import Vicinity
from memzoo.dynamics.orbits.orbit import March, iterate, worth_it
from memzoo.dynamics.tracing import accelerate_convolutions, output_range, outputs_agree

OFFSETS = 3  # half of the offsets are larger than their median
SAMPLE = 256  # examples whose fixed points are looked for
SLACK = 1e-4  # relative to the examples: orbits in float32 leave the range of the last layer by rounding


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
    reached: Bool[Tensor, " n"]
    """Examples with some start's orbit within ``eps`` of them at time T: R_T is their share."""
    ended_at: Int[Tensor, " batch"]
    """Example within ``eps`` of each start's last point, -1 if none (any of them, where ``eps`` lets balls overlap)."""
    unrecoverable: Bool[Tensor, " n"]
    """Proven: no orbit comes within ``eps`` of the example at any t >= 1, from any start."""
    eps: float
    """Radius in L2, given or derived from the examples."""
    offset: float
    """Median distance of the fixed points from their examples, L2: where the orbits of at most 256 examples end, among
    those that stay near their own one; NaN if none does."""
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
    latent: bool | None = None,
    offset: float | None = None,
) -> RecoveryCurve:
    r"""Recovery probability :math:`R_t = P_{x_0}(\min_z \|f^t(z) - x_0\|_2 < \epsilon)` (Section 3 of the paper).

    The probability is over the examples and the minimum over the starts. Distances are decided in float64 for the
    points as computed, at every ``eps``, and only for starts that have moved far enough to change one, so that a step
    costs little more than ``f``.

    Args:
        f: Self-map; modules in eval mode.
        starts: Points z the iteration starts from, held out from training or noise.
        examples: Training examples.
        steps: T, the number of iterations.
        eps: Radius of recovery; :func:`memzoo.dynamics.default_eps` of the examples when left out.
        tol: Relative step at which an orbit is frozen. 0, the default, freezes only orbits that no longer move at all,
            which is exact; None takes the resolution of the arithmetic, as :func:`memzoo.dynamics.iterate` does:
            faster, as settled starts are not evaluated, and blind to a drift of single units in the last place.
        block: Rows evaluated at one time.
        latent: As in :func:`memzoo.dynamics.iterate`.
        offset: Median distance of the fixed points from their examples, where it is known already, or NaN where nobody
            needs it; it takes an orbit from each of up to 256 examples when left out.

    Raises:
        NonFiniteError: NaN or infinity in the points or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.
        ValueError: Starts and examples of different shapes, ``eps`` not positive.

    Warns:
        UserWarning: ``eps`` is near the resolution of the arithmetic, or small beside the distance of the fixed points
            from their examples.

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
    offset = _offset(f, distinct(examples), steps, block) if offset is None else offset
    if eps < OFFSETS * offset:
        warnings.warn(
            f"eps = {eps:.2g} is below {OFFSETS} times the distance of the fixed points from their examples (median "
            f"{offset:.2g}): attractors may count as not recovered; raise eps or train longer.",
            stacklevel=2,
        )

    fast = None if latent is False else accelerate_convolutions(f, starts, steps)
    found = _followed(f if fast is None else fast, f, starts, examples, steps, eps, tol, block, latent)
    if fast is not None and not outputs_agree(fast, f, found.march.points, block):
        found = _followed(f, f, starts, examples, steps, eps, tol, block, latent)
    return RecoveryCurve(
        rate=torch.stack(found.rate),
        ever=torch.stack(found.ever),
        arrived=torch.stack(found.arrived),
        recovered_at=found.recovered_at,
        reached=found.vicinity.reached,
        ended_at=found.vicinity.at,
        unrecoverable=_unrecoverable(f, examples, eps),
        eps=eps,
        offset=offset,
        points=found.march.points,
    )


@dataclass(frozen=True)
class _Followed:
    march: March
    vicinity: Vicinity
    recovered_at: Tensor
    rate: list[Tensor]
    ever: list[Tensor]
    arrived: list[Tensor]


def _followed(
    step: Map,
    f: Map,
    starts: Tensor,
    examples: Tensor,
    steps: int,
    eps: float,
    tol: float | None,
    block: int,
    latent: bool | None,
) -> _Followed:
    """All orbits, by ``step`` or in the latent form of ``f``, and what they come near to."""
    march = March(step, starts, tol=tol, block=block)
    vicinity = Vicinity(starts.flatten(1), examples.flatten(1), eps)
    recovered_at = torch.full((len(examples),), -1, device=starts.device)
    rate, ever, arrived = [], [], []
    for t in range(steps + 1):
        if t:
            length = march.step()
            vicinity.move(march.rows, march.work.flatten(1), length)
        if t == 1 and not march.diverged.any() and (form := worth_it(f, starts, steps, latent)) is not None:
            y, within = form.range.coordinates(march.points).to(starts.dtype), form.range.coordinates(examples)
            march.enter(form)
            del vicinity  # it holds a copy of the examples
            vicinity = Vicinity(y, within, eps, offset=form.range.offset(examples))
        recovered_at[vicinity.reached & (recovered_at < 0)] = t
        rate.append(vicinity.reached.float().mean())
        ever.append((recovered_at >= 0).float().mean())
        arrived.append((vicinity.at >= 0).float().mean())
    return _Followed(march, vicinity, recovered_at, rate, ever, arrived)


def _unrecoverable(f: Map, examples: Tensor, eps: float) -> Tensor:
    """Examples farther than eps from all that the affine last layers of f can produce."""
    reach = output_range(f, examples)
    if reach is None:
        return torch.zeros(len(examples), dtype=torch.bool, device=examples.device)
    scale = torch.cat([part.norm(dim=1) for part in blocks(examples.flatten(1), examples[0].numel())]).double()
    return reach.offset(examples) > eps + SLACK * scale


def _offset(f: Map, examples: Tensor, steps: int, block: int) -> float:
    """Median distance from an example to the end of its own orbit, among those that end clearly nearest to it."""
    own = torch.arange(0, len(examples), math.ceil(len(examples) / SAMPLE), device=examples.device)
    orbit = iterate(f, examples[own], steps, block=block)
    distance = (orbit.points.double() - examples[own].double()).flatten(1).norm(dim=1)
    other = nearest(orbit.points, examples).second
    if len(examples) == 1:
        other = examples.double().flatten(1).norm(dim=1)
    arrived = orbit.converged | (orbit.residual <= 0.01 * distance)
    near = distance[arrived & (2 * distance <= other)]
    return near.quantile(0.5).item() if len(near) else math.nan
