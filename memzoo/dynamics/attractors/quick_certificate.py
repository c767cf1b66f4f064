"""Certify examples by the quickest way, and in full if that way leaves an example undecided."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import HALF
from memzoo._types import Map
from memzoo.dynamics.attractors.certificate import Certificates, leave_out
from memzoo.dynamics.attractors.certification import certify
from memzoo.dynamics.attractors.residual_bound import rule_out_fixed_points
from memzoo.dynamics.spectra import WIDE, Jacobians, choose_quick_method
from memzoo.dynamics.tracing import leave_no_trace


def certify_quickly(
    f: Map,
    examples: Tensor,
    eps: float | Tensor | None,
    *,
    steps: int = 1000,
    group: Tensor | None = None,
    memory_limit: int = 2**30,
) -> Certificates:
    """Certify the examples through products with the Jacobian, if the full Jacobian costs more.

    The verdicts are those of :func:`memzoo.dynamics.certify`, which has the same arguments. The radii agree within
    their error bounds.
    """
    # Points in half precision are read as float32 by certify itself.
    method = None if examples.dtype in HALF else choose_quick_method(f, examples)
    found = certify(f, examples, eps, steps=steps, group=group, method=method, memory_limit=memory_limit)
    if method is None:
        return found
    decided = found.fixed & ((found.radius - 1).abs() > found.radius_error)
    near = found.group_offset < 1.1 * found.eps  # Newton's method may move a point by a tenth of eps
    if (near & ~decided).any():
        return certify(f, examples, eps, steps=steps, group=group, memory_limit=memory_limit)
    return found


@leave_no_trace
@torch.no_grad()
def certify_near(
    f: Map,
    examples: Float[Tensor, "n *shape"],
    eps: Float[Tensor, " n"],
    *,
    steps: int,
    group: Int[Tensor, " n"],
    memory_limit: int = 2**30,
) -> Certificates:
    """Certify the examples that may have a fixed point near them, and follow the others only if a verdict needs it.

    The verdicts are those of :func:`memzoo.dynamics.certify`, as far as the bound holds that rules fixed points out.
    The orbit of an example without a fixed point near it matters as soon as another example would be an attractor: it
    might end there, too. Maps that have a narrow place cost too little to leave anything out.

    Args:
        f: Self-map; modules in eval mode.
        examples: Examples.
        eps: Radius of each.
        steps: Most iterations, as in :func:`memzoo.dynamics.certify`.
        group: A number for each example; those of equal numbers count as one.
        memory_limit: Bytes for the Jacobians in work at one time.
    """

    def certify_rows(rows: Tensor) -> Certificates:
        return certify_quickly(f, examples[rows], eps[rows], steps=steps, group=group[rows], memory_limit=memory_limit)

    every_row = torch.arange(len(examples), device=examples.device)
    jacobians = Jacobians(f, examples, None, memory_limit)
    if jacobians.width <= WIDE or jacobians.affine:
        return certify_rows(every_row)
    ruled_out = rule_out_fixed_points(f, examples, eps, group)
    far = ruled_out.nonzero().flatten()
    if not len(far):
        return certify_rows(every_row)
    near = (~ruled_out).nonzero().flatten()
    parts: list[Certificates] = []
    if len(near):
        parts.append(certify_rows(near))
    if parts and parts[0].attractor.any():
        parts.append(certify_rows(far))
    else:
        parts.append(leave_out(examples[far], eps[far]))
    order = torch.cat([near, far])
    return Certificates.join(parts, group[order]).reorder(order.argsort())
