"""Hold what is known of each training example as an attractor, and tell from it which ones are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo.dynamics.attractors.shared_limits import find_shared_limits
from memzoo.dynamics.orbits import format_eps
from memzoo.dynamics.spectra import Derivative

DOUBTFUL: tuple[Derivative, ...] = ("unverified", "contradicted")
"""Derivatives that prove no attractor. Where one is one-sided, or the outputs rest, the pushes decide."""
SHOWN = 20
"""Rows of a printed table."""


@dataclass(frozen=True)
class Certificates:
    """What :func:`certify` found, one row an example; prints as a table."""

    points: Float[Tensor, "n *shape"]
    """Limit of the orbit that starts at the example, polished in float64. An orbit whose steps fall below the rounding
    of float32, in which examples are known, and that is within a tenth of ``eps`` of an unstable fixed point 100 steps
    later, has reached that point: it is then the limit, with a radius above 1, and no attractor, although the orbit
    would leave it in the end."""
    fixed: Bool[Tensor, " n"]
    """The limit is a fixed point: its residual is at the level of rounding."""
    open: Bool[Tensor, " n"]
    """The orbit was followed 20 times as long as asked for and has still not come to a known fixed point or to a cycle,
    nor has it diverged. Such an example is no attractor, and it shares no limit."""
    offset: Float[Tensor, " n"]
    """L2 distance from the example to that limit."""
    group_offset: Float[Tensor, " n"]
    """L2 distance to that limit from the nearest of the examples that count as one with this one: near-copies
    (:func:`memzoo.dynamics.group_near_copies`) if ``eps`` was left out. Mostly that is the example itself."""
    residual: Float[Tensor, " n"]
    r"""L2 norm of :math:`f(x^*) - x^*` at the limit."""
    location_error: Float[Tensor, " n"]
    r"""Estimate of the distance from the limit to the true fixed point, to first order, beyond the rounding of f.

    It is the length of the Newton step that was not taken; where the residual is at the level of rounding, it is the
    residual divided by \|1 - ``radius``\|, or times the growth that pushes showed if that is larger. The bound is the
    residual times :math:`\|(I - J)^{-1}\|`, which for a map that is not normal may be larger than these, in directions
    that were not tried."""
    radius: Float[Tensor, " n"]
    """Spectral radius at the limit; NaN where the limit is not a fixed point."""
    radius_error: Float[Tensor, " n"]
    """Error bound of ``radius``, including its change over the location error; NaN where ``radius`` is NaN."""
    derivative: list[Derivative]
    """What comparing the derivative at the limit with differences of the map has shown, see
    :class:`memzoo.dynamics.Spectrum`; ``unverified`` where the limit is not a fixed point."""
    pushed: Bool[Tensor, " n"]
    """The limit was pushed: it would be an attractor if the pushes do not grow, and ``eps`` leaves room for pushes that
    are longer than rounding."""
    returns: Bool[Tensor, " n"]
    """Small pushes do not grow in the long run, see :mod:`memzoo.dynamics.attractors.pushes`. At a kink or a jump the
    Jacobian is that of one side and cannot tell. Where the outputs of the map rest under small steps, the pushes are as
    long as half of ``eps``, and have to come back as they are. False where nothing was pushed."""
    ruled_out: Bool[Tensor, " n"]
    """No fixed point lies within ``eps``, see :mod:`memzoo.dynamics.attractors.residual_bound`, so that neither the
    orbit nor its limit was computed: ``points`` is the example, and everything about the limit is NaN. Nobody but a
    callback asks for that."""
    distinct: Bool[Tensor, " n"]
    """No other example (those that count as one with it aside) is known to end at the same point, whether near to the
    example or far from it: a map that sends two examples to one of them has not stored two, and a constant map has
    stored none."""
    limit_of: Int[Tensor, " n"]
    """First example that is known to end at the same point as this one: equal numbers share a limit."""
    limit: Float[Tensor, "n d"]
    """``points`` in the precision in which they were computed, flattened."""
    resolution: Float[Tensor, " n"]
    """L2 radius around ``limit`` within which the true fixed point is taken to lie: ``location_error`` and the rounding
    of f, added up until the map has forgotten it. NaN where there is none, or its place is unknown."""
    eps: Float[Tensor, " n"]
    """Radius in L2 within which the fixed point counts as the example's own."""
    basin_radius: Float[Tensor, " n"]
    """Radius of a ball around the attractor that leads back to it, except for a share of at most 1 - ``basin_share``.
    NaN if there is no attractor, or if ``directions`` was 0. See :func:`memzoo.dynamics.basin_radius`."""
    basin_share: float
    """Share of that ball's volume, at 95 % confidence."""

    @staticmethod
    def join(parts: "Sequence[Certificates]", group: Int[Tensor, " n"]) -> "Certificates":
        """Join the certificates of consecutive parts of the examples, and decide again which limits are shared.

        Args:
            parts: Certificates. Those of examples that count as one have to come from calls that were given them all,
                because a limit near any of them is pushed as the limit of each.
            group: A number for each example of all parts; those of equal numbers count as one.
        """
        names = [name for name, value in vars(parts[0]).items() if isinstance(value, Tensor)]
        rows = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        shared = find_shared_limits(rows["limit"], rows["resolution"], group.to(rows["limit"].device))
        rows |= shared._asdict()
        return replace(parts[0], **rows, derivative=[word for part in parts for word in part.derivative])

    def __getitem__(self, rows: Int[Tensor, " m"] | Bool[Tensor, " n"]) -> "Certificates":
        """Select the certificates of some of the examples, in this order; the numbers in ``limit_of`` do not change."""
        chosen = {name: value[rows] for name, value in vars(self).items() if isinstance(value, Tensor)}
        places = torch.arange(len(self.derivative), device=rows.device)[rows]  # of flags as of indices
        return replace(self, **chosen, derivative=[self.derivative[place] for place in places.tolist()])

    def reorder(self, order: Int[Tensor, " n"]) -> "Certificates":
        """Return all rows in another order, with ``limit_of`` as numbers of that order."""
        # order[i] is the old place of row i; place is its inverse
        place = order.argsort()
        named = place[self.limit_of[order]]
        # The first member of a group may be another one now.
        first = torch.stack([(named == own).nonzero()[0, 0] for own in named])
        return replace(self[order], limit_of=first)

    @property
    def attractor(self) -> Bool[Tensor, " n"]:
        """Tell which examples are attractors.

        The limit is a fixed point within ``eps`` of the example or of a near-copy of it, distinct, its radius is below
        1 beyond the error bound, and pushes do not grow.
        """
        return find_contracting(self) & self.distinct & self.returns

    @property
    def fraction(self) -> float:
        """Return the share of the examples that are attractors."""
        return self.attractor.float().mean().item()

    def __str__(self) -> str:
        count = len(self.attractor)
        still_open = f", {int(self.open.sum())} orbits are still open" if self.open.any() else ""
        attractors = int(self.attractor.sum())
        lines = [
            f"{attractors} of {count} examples are attractors{still_open} (eps = {format_eps(self.eps)})",
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
            word = self.derivative[row]
            return "attractor" if word == "verified" else f"{word} derivative: by pushes an attractor"
        if self.ruled_out[row]:
            return "no fixed point within eps"
        if not self.fixed[row]:
            return "open: no fixed point found" if self.open[row] else "no fixed point found"
        if not self.distinct[row]:
            return f"shares the limit of {int(self.limit_of[row])}"
        if not self.group_offset[row] + self.location_error[row] < self.eps[row]:
            return "farther than eps"
        if self.derivative[row] in DOUBTFUL:
            return f"derivative {self.derivative[row]}"
        if not self.radius[row] + self.radius_error[row] < 1:
            return "radius not below 1"
        return "left when pushed" if self.pushed[row] else "eps too small to push"


def find_contracting(found: Certificates) -> Bool[Tensor, " n"]:
    """Find the fixed points near their examples whose radius is below 1 beyond the error bound."""
    near = found.group_offset + found.location_error < found.eps
    trusted = torch.tensor([word not in DOUBTFUL for word in found.derivative], device=near.device)
    return found.fixed & near & trusted & (found.radius + found.radius_error < 1)


def leave_out(examples: Tensor, eps: Tensor) -> Certificates:
    """Return the certificates of examples that have no fixed point within their ``eps``."""
    unknown = torch.full_like(eps, torch.nan, dtype=torch.float64)
    no = torch.zeros_like(unknown, dtype=torch.bool)
    return Certificates(
        points=examples,
        fixed=no,
        open=no,
        offset=unknown,
        group_offset=unknown,
        residual=unknown,
        location_error=unknown,
        radius=unknown,
        radius_error=unknown,
        derivative=["unverified"] * len(examples),
        pushed=no,
        returns=no,
        ruled_out=~no,
        distinct=~no,
        limit_of=torch.arange(len(examples), device=examples.device),
        limit=examples.flatten(1),
        resolution=unknown,
        eps=eps,
        basin_radius=unknown,
        basin_share=torch.nan,
    )
