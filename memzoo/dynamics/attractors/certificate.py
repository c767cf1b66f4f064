"""Certify training examples as attractors.

The way of an example through :func:`certify`:

1. Iterate from the example. Its limit is then the one whose basin holds the example.
2. Polish the limit in float64, by more iterations and by a few steps of Newton's method.
3. Prove the fixed point: its residual is at the level of rounding.
4. Tell the limits of different examples apart.
5. Compute the spectral radius of the Jacobian at each limit, with an error bound.
6. Give the verdict. By Theorem 2 of Radhakrishnan, Yang, Belkin and Uhler (arXiv 1810.10333) a fixed point is an
   attractor if the radius is below 1. Since the Jacobian says nothing at a kink, small pushes must not grow either.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_eps, check_module, check_steps
from memzoo._types import Map
from memzoo.dynamics.attractors.basin import basin_radius
from memzoo.dynamics.attractors.newton import compute_residual_norm, polish_fixed_point
from memzoo.dynamics.orbits import default_eps, iterate
from memzoo.dynamics.spectra import Jacobians, Method, check_differentiable_self_map, compute_spectrum
from memzoo.dynamics.tracing import accelerate_convolutions_in_dtype, restore_plain_attributes

WIDE_STEPS = 100
"""Most iterations in float64 before Newton's method."""
REACH = 0.1
"""Times eps: how far Newton's method may move a limit, and within which a point is taken to belong to a limit."""
PUSHED_STEPS = 50
"""Steps after a push, enough for a transient to pass."""
CURVATURE = 1e3
"""Assumed largest change of the spectral radius per relative distance from the point where it is computed."""
SHOWN = 20
"""Rows of a printed table."""


@dataclass(frozen=True)
class Certificates:
    """What :func:`certify` found, one row an example; prints as a table."""

    points: Float[Tensor, "n *shape"]
    """Limit of the orbit that starts at the example, polished in float64."""
    fixed: Bool[Tensor, " n"]
    """The limit is a fixed point: its residual is at the level of rounding. If a slow orbit ends far from its example,
    this may stay undecided, hence False."""
    offset: Float[Tensor, " n"]
    """L2 distance from the example to that limit."""
    residual: Float[Tensor, " n"]
    r"""L2 norm of :math:`f(x^*) - x^*` at the limit."""
    location_error: Float[Tensor, " n"]
    """Distance from the limit to the true fixed point, to first order: the Newton step that was not taken."""
    radius: Float[Tensor, " n"]
    """Spectral radius at the limit; NaN where the limit is not a fixed point."""
    radius_error: Float[Tensor, " n"]
    """Error bound of ``radius``, including its change over the location error; NaN where ``radius`` is NaN."""
    returns: Bool[Tensor, " n"]
    """Small pushes to two opposite sides do not grow. At a kink or a jump the Jacobian is that of one side and cannot
    tell. False if nothing was tried."""
    distinct: Bool[Tensor, " n"]
    """No other example (exact duplicates aside) ends at the same point, whether near to the example or far from it: a
    map that sends two examples to one of them has not stored two, and a constant map has stored none."""
    limit_of: Int[Tensor, " n"]
    """First example that ends at the same point as this one: equal numbers share a limit."""
    heading: Float[Tensor, "n d"]
    """Where a slow orbit is expected to end: the limit and the Newton step that was not taken, flattened."""
    blur: Float[Tensor, " n"]
    """L2 radius within which ``heading`` cannot tell limits apart; NaN where the orbit diverged."""
    eps: float
    """Radius in L2 within which the fixed point counts as the example's own."""
    basin_radius: Float[Tensor, " n"]
    """Radius of a ball around the attractor that leads back to it, except for a share of at most 1 - ``basin_share``.
    NaN if there is no attractor, or if ``directions`` was 0. See :func:`memzoo.dynamics.basin_radius`."""
    basin_share: float
    """Share of that ball's volume, at 95 % confidence."""

    @staticmethod
    def join(parts: "Sequence[Certificates]", examples: Float[Tensor, "n *shape"]) -> "Certificates":
        """Join the certificates of consecutive parts of the examples, and decide again which limits are shared."""
        names = [name for name, value in vars(parts[0]).items() if isinstance(value, Tensor)]
        rows = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        # An example may share its limit with an example of another part.
        rows["limit_of"], rows["distinct"] = _tell_limits_apart(rows["heading"], rows["blur"], examples)
        return replace(parts[0], **rows)

    def __getitem__(self, rows: Int[Tensor, " m"]) -> "Certificates":
        """Select the certificates of some of the examples, in this order; the numbers in ``limit_of`` do not change."""
        chosen = {name: value[rows] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **chosen)

    @property
    def attractor(self) -> Bool[Tensor, " n"]:
        """Tell which examples are attractors.

        The limit is a fixed point within ``eps``, distinct, its radius is below 1 beyond the error bound, and pushes do
        not grow.
        """
        near = self.offset + self.location_error < self.eps
        contracts = self.radius + self.radius_error < 1
        return self.fixed & near & self.distinct & self.returns & contracts

    @property
    def fraction(self) -> float:
        """Return the share of the examples that are attractors."""
        return self.attractor.float().mean().item()

    def __str__(self) -> str:
        count = len(self.attractor)
        lines = [
            f"{int(self.attractor.sum())} of {count} examples are attractors (eps = {self.eps:.3g})",
            f"{'example':>7}{'offset':>11}{'radius':>10}{'+-':>10}  verdict",
        ]
        for row in range(min(count, SHOWN)):
            radius = f"{self.radius[row]:>10.4f}{self.radius_error[row]:>10.1e}"
            lines.append(f"{row:>7}{self.offset[row]:>11.2e}{radius}  {self._explain(row)}")
        if count > SHOWN:
            lines.append(f"{'...':>7} and {count - SHOWN} more")
        return "\n".join(lines)

    def _explain(self, row: int) -> str:
        """Name the first condition of an attractor that is not met."""
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
    :math:`x^* = f(x^*)` nearby. It is found by iterating from the example, so that its basin holds the example, and
    polished by Newton's method in float64, which may not leave the neighbourhood. The certificate then asks for a fixed
    point within ``eps``, shared with no other example, of spectral radius < 1 beyond the error bound (Theorem 2 of the
    paper). Untrained and constant maps certify nothing, although their radius is near 0.

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

    # 1. Iterate.
    orbit = iterate(f, examples, steps)

    # 2. Polish in float64. Most orbits come to rest by iteration, which needs no Jacobian.
    jacobians = Jacobians(f, orbit.points, method, memory_limit)
    points = orbit.points.to(jacobians.dtype)
    wide = accelerate_convolutions_in_dtype(f, points, jacobians.dtype) or jacobians.wide
    points = iterate(wide, points, min(steps, WIDE_STEPS)).points
    points, step_left = polish_fixed_point(jacobians, points, REACH * eps)

    # 3. Prove the fixed point.
    residual = compute_residual_norm(jacobians.wide, points)
    # The unit of relative distances; a limit at the origin has that of its example.
    scale = torch.maximum(points.flatten(1).norm(dim=1), examples.flatten(1).norm(dim=1)).clamp(min=1e-30)
    fixed = residual.isfinite() & (residual <= _residual_tolerance(points.dtype) * scale)
    offset = (points.double() - examples.double()).flatten(1).norm(dim=1)

    # 4. Tell limits apart. A slow orbit is still on its way to the limit that its Newton step shows.
    length_left = step_left.norm(dim=1)
    heading = points.flatten(1) + torch.where(step_left.isfinite(), step_left, 0.0)
    blur = 1e-6 * scale + (0.1 * length_left).clamp(max=eps)
    # Comparisons with NaN are false: an orbit that diverged shares its limit with no other.
    blur[orbit.diverged | ~scale.isfinite()] = torch.nan
    limit_of, distinct = _tell_limits_apart(heading, blur, examples)

    # 5. Spectrum. To first order, the fixed point is |residual| / |1 - radius| away along the leading direction. Where
    # the radius is unknown, the residual itself is reported; no verdict depends on it there.
    radius, error = _compute_radii(jacobians, points, fixed, 1e-9 * scale)
    by_radius = torch.where(residual == 0, 0.0, residual.double() / (1 - radius).abs().nan_to_num(1.0))
    location_error = torch.maximum(length_left.double(), by_radius)

    # 6. Verdict. Only what would be an attractor if it passed the test of pushes is pushed.
    diverged = orbit.diverged.reshape(-1, *[1] * (points.ndim - 1))
    found = Certificates(
        points=torch.where(diverged, orbit.points.to(points.dtype), points).to(examples.dtype),
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
    # Derivatives leave wrapped tensors in modules that keep a value of their forward.
    restore_plain_attributes(f, examples)
    found = replace(found, returns=_test_pushes(f, found.points, found.attractor, eps))
    rows = found.attractor.nonzero().flatten()
    if not directions or not len(rows):
        return found
    basins = basin_radius(f, found.points[rows], REACH * eps, directions=directions, steps=steps)
    radii = found.basin_radius.index_put((rows,), basins.radius)
    return replace(found, basin_radius=radii, basin_share=basins.share)


def _residual_tolerance(dtype: torch.dtype) -> float:
    """Return the relative residual below which a point counts as fixed: rounding, with room for a deep network."""
    return torch.finfo(dtype).eps ** 0.5 * (1e-2 if dtype == torch.float64 else 1e-1)


def _tell_limits_apart(heading: Tensor, blur: Tensor, examples: Tensor) -> tuple[Tensor, Tensor]:
    """Find the first example that ends at the same point as each, and tell which examples share their limit with none.

    Exact duplicates among the examples may share a limit.
    """
    # Two balls of radius blur around the places where the orbits are heading for meet.
    shared = _pairwise_distances(heading) <= blur[:, None] + blur
    duplicate = _pairwise_distances(examples.flatten(1)) == 0
    own = torch.eye(len(blur), dtype=torch.bool, device=blur.device)
    # The first largest entry of a row of zeros and ones is its first one.
    return (shared | own).int().argmax(1), ~(shared & ~duplicate).any(1)


def _compute_radii(jacobians: Jacobians, points: Tensor, fixed: Tensor, tol: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the spectral radius and its error bound at the fixed points, NaN elsewhere.

    Points within ``tol`` of each other share one eigensolve.
    """
    radius = torch.full_like(fixed, torch.nan, dtype=torch.float64)
    error = radius.clone()
    same = _pairwise_distances(points.flatten(1)) <= tol[:, None]
    # Of all fixed points at the same place the first one stands for the others.
    first = (same & fixed).int().argmax(1)
    chosen = first[fixed].unique()
    if not len(chosen):
        return radius, error
    found = compute_spectrum(jacobians, points[chosen], top=1, strict=False)
    radius[chosen] = found.radius
    error[chosen] = found.radius_error
    return torch.where(fixed, radius[first], torch.nan), torch.where(fixed, error[first], torch.nan)


def _test_pushes(f: Map, points: Tensor, chosen: Bool[Tensor, " n"], eps: float) -> Bool[Tensor, " n"]:
    """Tell for which of the ``chosen`` points a push in a random direction and its opposite do not grow."""
    result = torch.zeros_like(chosen)
    rows = chosen.nonzero().flatten()
    if not len(rows):
        return result
    centre = points[rows]
    size = centre.flatten(1).norm(dim=1).double()
    length = (1e-3 * eps + 300 * torch.finfo(points.dtype).eps * size)[:, None]  # small, but above rounding
    u = torch.randn(centre.flatten(1).shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    push = length * (u / u.norm(dim=1, keepdim=True)).to(centre.device)
    starts = torch.cat([centre + side * push.reshape(centre.shape).to(centre.dtype) for side in (1, -1)])
    ends = iterate(f, starts, PUSHED_STEPS, tol=0.0, latent=False)
    gap = (ends.points - torch.cat([centre, centre])).flatten(1).double().norm(dim=1).reshape(2, -1)
    # One part in a hundred allows for the rounding of the orbit.
    result[rows] = (gap <= 1.01 * length.T).all(0) & ~ends.diverged.reshape(2, -1).any(0)
    return result


def _pairwise_distances(flat: Tensor) -> Tensor:
    """Compute the distances between all rows, by subtraction."""
    return torch.cdist(flat.double(), flat.double(), compute_mode="donot_use_mm_for_euclid_dist")
