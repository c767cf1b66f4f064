"""Is each training example an attractor? The fixed point near it, certified."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_eps, check_module, check_steps
from memzoo._types import Map
from memzoo.dynamics.attractors.basin import basin_radius
from memzoo.dynamics.attractors.newton import polished, residual_norm
from memzoo.dynamics.orbits import default_eps, iterate
from memzoo.dynamics.spectra import Jacobians, Method, check_differentiable_self_map, compute_spectrum
from memzoo.dynamics.tracing import accelerate_convolutions_in_dtype, restore_plain_attributes

WIDE_STEPS = 100
PUSHED_STEPS = 50  # time for a transient to pass
CURVATURE = 1e3  # most that the radius is taken to change, per relative distance from the point where it is computed


SHOWN = 20  # rows of a table that is printed


@dataclass(frozen=True)
class Certificates:
    """What :func:`certify` found, one row an example; prints as a table."""

    points: Float[Tensor, "n *shape"]
    """Limit of the orbit that starts at the example, polished in float64."""
    fixed: Bool[Tensor, " n"]
    """The limit is a fixed point: its residual is at the level of rounding. Where a slow orbit ends far from its
    example this may stay undecided, hence False."""
    offset: Float[Tensor, " n"]
    """L2 distance from the example to that limit."""
    residual: Float[Tensor, " n"]
    r"""L2 norm of :math:`f(x^*) - x^*` at the limit."""
    location_error: Float[Tensor, " n"]
    """Distance from the limit to the true fixed point, to first order: the Newton step left over."""
    radius: Float[Tensor, " n"]
    """Spectral radius at the limit; NaN where the limit is not a fixed point."""
    radius_error: Float[Tensor, " n"]
    """Its error bound, with room for what it may change over the location error; NaN likewise."""
    returns: Bool[Tensor, " n"]
    """Pushed a little to two opposite sides, the limit is not left. At a kink or a jump the Jacobian is that of one
    side and cannot tell. False where nothing was tried."""
    distinct: Bool[Tensor, " n"]
    """No other example (exact duplicates aside) ends at the same point, be it near or far from it: a map that sends
    two examples to one of them has not stored two, and a constant map has stored none."""
    limit_of: Int[Tensor, " n"]
    """First example that ends at the same point as this one: equal numbers share a limit."""
    heading: Float[Tensor, "n d"]
    """Where the limit of a slow orbit is seen to lie: the limit and the Newton step left over, flattened."""
    blur: Float[Tensor, " n"]
    """L2 radius within which ``heading`` cannot tell limits apart; NaN where the orbit diverged."""
    eps: float
    """Radius in L2 within which the fixed point counts as the example's own."""
    basin_radius: Float[Tensor, " n"]
    """Radius of a ball around the attractor that leads back to it, but for a share of at most 1 - ``basin_share``; NaN
    for no attractor, or where ``directions`` was 0. See :func:`memzoo.dynamics.basin_radius`."""
    basin_share: float
    """Share of that ball's volume, at 95 % confidence."""

    @staticmethod
    def joined(parts: "Sequence[Certificates]", examples: Float[Tensor, "n *shape"]) -> "Certificates":
        """One from the certificates of parts of the examples, in order: which limits are shared is decided anew."""
        names = [name for name, value in vars(parts[0]).items() if isinstance(value, Tensor)]
        rows = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        rows["limit_of"], rows["distinct"] = _told_apart(rows["heading"], rows["blur"], examples)
        return replace(parts[0], **rows)

    def __getitem__(self, rows: Int[Tensor, " m"]) -> "Certificates":
        """The certificates of some of the examples, in this order; ``limit_of`` counts as before."""
        chosen = {name: value[rows] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **chosen)

    @property
    def attractor(self) -> Bool[Tensor, " n"]:
        """Fixed point within ``eps``, distinct, radius below 1 beyond its error bound, not left when pushed."""
        near = self.offset + self.location_error < self.eps
        return self.fixed & near & self.distinct & self.returns & (self.radius + self.radius_error < 1)

    @property
    def fraction(self) -> float:
        """Share of the examples that are attractors."""
        return self.attractor.float().mean().item()

    def __str__(self) -> str:
        count, found = len(self.attractor), int(self.attractor.sum())
        lines = [
            f"{found} of {count} examples are attractors (eps = {self.eps:.3g})",
            f"{'example':>7}{'offset':>11}{'radius':>10}{'+-':>10}  verdict",
        ]
        lines += [
            f"{row:>7}{self.offset[row]:>11.2e}{self.radius[row]:>10.4f}{self.radius_error[row]:>10.1e}  "
            f"{self._verdict(row)}"
            for row in range(min(count, SHOWN))
        ]
        return "\n".join([*lines, *([f"{'...':>7} and {count - SHOWN} more"] if count > SHOWN else [])])

    def _verdict(self, row: int) -> str:
        """The first condition of an attractor that is not met."""
        if self.attractor[row]:
            return "attractor"
        if not self.fixed[row]:
            return "no fixed point found"
        if not self.distinct[row]:
            return f"shares the limit of {int(self.limit_of[row])}"
        if self.offset[row] + self.location_error[row] >= self.eps:
            return "farther than eps"
        return "left when pushed" if self.radius[row] + self.radius_error[row] < 1 else "radius not below 1"


@torch.no_grad()
def certify(
    f: Map,
    examples: Float[Tensor, "n *shape"],
    eps: float | None = None,
    *,
    steps: int = 1000,
    method: Method | None = None,
    directions: int = 0,
    memory_limit: int = 2**30,
) -> Certificates:
    r"""Certify each training example as an attractor, or not.

    Trained to a small loss, a network maps an example *near* itself; the attractor is a true fixed point
    :math:`x^* = f(x^*)` nearby. It is found by iterating from the example (so it is the one whose basin holds the
    example) and polished by Newton's method in float64, which is only accepted where it stays put; the certificate
    then asks for a fixed point within ``eps``, shared with no other example, of spectral radius < 1 beyond the error
    bound (Theorem 2 of the paper). Untrained and constant maps certify nothing, although their radius is near 0.

    Args:
        f: Self-map; modules in eval mode.
        examples: Training examples.
        eps: Radius; :func:`memzoo.dynamics.default_eps` of the examples when left out.
        steps: Most iterations from each example.
        method: As in :func:`memzoo.dynamics.spectrum`.
        directions: Estimate the radius of each attractor's basin with this many random points a ball; 32 is a good
            number, 0 leaves it out. Costs more than all the rest: at most 29 times that many orbits an attractor.
        memory_limit: Bytes for the Jacobians in work at one time.

    Returns:
        Cost: at most ``steps`` evaluations of f and 100 in float64, four Jacobians for each example whose orbit is
        still moving then, one eigensolve a *distinct* limit.

    Raises:
        NonFiniteError: NaN or infinity in the examples or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.

    Example:
        >>> examples = torch.tensor([[1.0], [-1.0], [0.0]])
        >>> certificates = certify(lambda x: torch.tanh(3 * x) / torch.tanh(torch.tensor(3.0)), examples)
        >>> certificates.attractor
        tensor([ True,  True, False])
    """
    check_batch(examples, "examples")
    check_module(f)
    check_steps(steps)
    if eps is None:
        eps = default_eps(examples)
    check_eps(eps)
    check_differentiable_self_map(f, examples)

    limit = iterate(f, examples, steps)
    jacobians = Jacobians(f, limit.points, method, memory_limit)
    points = limit.points.to(jacobians.dtype)
    wide = accelerate_convolutions_in_dtype(f, points, jacobians.dtype) or jacobians.wide
    points = iterate(wide, points, min(steps, WIDE_STEPS)).points  # fast ones are done here, at no Jacobian
    points, step = polished(jacobians, points, 0.1 * eps)
    residual = residual_norm(jacobians.wide, points)
    scale = torch.maximum(points.flatten(1).norm(dim=1), examples.flatten(1).norm(dim=1)).clamp(min=1e-30)
    fixed = residual.isfinite() & (residual <= _resolved(points.dtype) * scale)
    offset = (points.double() - examples.double()).flatten(1).norm(dim=1)

    # slow orbits are still on their way to the limit that their Newton step shows
    left_over = step.norm(dim=1)
    heading = points.flatten(1) + torch.where(step.isfinite(), step, 0.0)
    blur = 1e-6 * scale + (0.1 * left_over).clamp(max=eps)
    blur[limit.diverged | ~scale.isfinite()] = torch.nan
    limit_of, distinct = _told_apart(heading, blur, examples)

    radius = torch.full_like(offset, torch.nan)
    error = torch.full_like(offset, torch.nan)
    same = _pairwise(points.flatten(1)) <= 1e-9 * scale[:, None]
    first = (same & fixed).int().argmax(1)  # one eigensolve for all examples that ended at one point
    chosen = first[fixed].unique()
    if len(chosen):
        found = compute_spectrum(jacobians, points[chosen], top=1, strict=False)
        radius[chosen], error[chosen] = found.radius, found.radius_error
        radius, error = torch.where(fixed, radius[first], torch.nan), torch.where(fixed, error[first], torch.nan)
    by_radius = torch.where(residual == 0, 0.0, residual.double() / (1 - radius).abs().nan_to_num(1.0))
    location_error = torch.maximum(left_over.double(), by_radius)
    found = Certificates(
        points=torch.where(_like(limit.diverged, points), limit.points.to(points.dtype), points).to(examples.dtype),
        fixed=fixed,
        offset=offset,
        residual=residual.double(),
        location_error=location_error,
        radius=radius,
        radius_error=error + CURVATURE * location_error / scale,
        returns=torch.ones_like(fixed),
        distinct=distinct,
        limit_of=limit_of,
        heading=heading,
        blur=blur,
        eps=eps,
        basin_radius=torch.full_like(radius, torch.nan),
        basin_share=torch.nan,
    )
    restore_plain_attributes(f, examples)
    found = replace(found, returns=_returns(f, found.points, found.attractor, eps))
    rows = found.attractor.nonzero().flatten()
    if not directions or not len(rows):
        return found
    basins = basin_radius(f, found.points[rows], 0.1 * eps, directions=directions, steps=steps)
    radii = found.basin_radius.index_put((rows,), basins.radius)
    return replace(found, basin_radius=radii, basin_share=basins.share)


def _told_apart(heading: Tensor, blur: Tensor, examples: Tensor) -> tuple[Tensor, Tensor]:
    """The first example that ends at the same point, and whether no other example does (exact duplicates aside)."""
    shared = _pairwise(heading) <= blur[:, None] + blur
    duplicate = _pairwise(examples.flatten(1)) == 0
    own = torch.eye(len(blur), dtype=torch.bool, device=blur.device)
    return (shared | own).int().argmax(1), ~(shared & ~duplicate).any(1)


def _returns(f: Map, points: Tensor, chosen: Bool[Tensor, " n"], eps: float) -> Bool[Tensor, " n"]:
    """Do pushes in a random direction and its opposite not grow over some steps?"""
    result, rows = torch.zeros_like(chosen), chosen.nonzero().flatten()
    if not len(rows):
        return result
    centre = points[rows]
    size = centre.flatten(1).norm(dim=1).double()
    far = (1e-3 * eps + 300 * torch.finfo(points.dtype).eps * size)[:, None]
    u = torch.randn(centre.flatten(1).shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = far * (u / u.norm(dim=1, keepdim=True)).to(centre.device)
    starts = torch.cat([centre + side * u.reshape(centre.shape).to(centre.dtype) for side in (1, -1)])
    ends = iterate(f, starts, PUSHED_STEPS, tol=0.0, latent=False)
    gap = (ends.points - torch.cat([centre, centre])).flatten(1).double().norm(dim=1).reshape(2, -1)
    result[rows] = (gap <= 1.01 * far.T).all(0) & ~ends.diverged.reshape(2, -1).any(0)
    return result


def _like(flags: Tensor, points: Tensor) -> Tensor:
    return flags.reshape(-1, *[1] * (points.ndim - 1))


def _resolved(dtype: torch.dtype) -> float:
    """Relative residual below which a point counts as fixed: rounding, with room for a deep network's own."""
    return torch.finfo(dtype).eps ** 0.5 * (1e-2 if dtype == torch.float64 else 1e-1)


def _pairwise(flat: Tensor) -> Tensor:
    """Distances between all rows, by subtraction."""
    return torch.cdist(flat.double(), flat.double(), compute_mode="donot_use_mm_for_euclid_dist")
