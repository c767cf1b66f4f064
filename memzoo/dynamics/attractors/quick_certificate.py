"""Certify examples by the quickest way, and in full if that way leaves an example undecided."""

from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.attractors.certificate import Certificates, certify
from memzoo.dynamics.spectra import choose_quick_method


def certify_quickly(
    f: Map, examples: Tensor, eps: float | Tensor | None, *, steps: int = 1000, group: Tensor | None = None
) -> Certificates:
    """Certify the examples through products with the Jacobian, if the full Jacobian costs more.

    The verdicts are those of :func:`memzoo.dynamics.certify`, which has the same arguments. The radii agree within
    their error bounds.
    """
    method = choose_quick_method(f, examples)
    found = certify(f, examples, eps, steps=steps, group=group, method=method)
    if method is None:
        return found
    decided = found.fixed & ((found.radius - 1).abs() > found.radius_error)
    near = found.group_offset < 1.1 * found.eps  # Newton's method may move a point by a tenth of eps
    if (near & ~decided).any():
        return certify(f, examples, eps, steps=steps, group=group)
    return found
