r"""Bound the spectral radius from below and above by matrix products alone: no eigensolve, and differentiable.

The upper bound is Gelfand's, :math:`\rho(J) \le \|J^m\|^{1/m}`. The lower one holds because the trace of
:math:`J^m` is the sum of at most k powers :math:`\lambda_i^m`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch, check_map, check_module
from memzoo._types import Map
from memzoo.dynamics.spectra.jacobian import Jacobians, check_differentiable_self_map, refuse_non_finite
from memzoo.dynamics.spectra.own_derivative import build_check, choose_own_derivative
from memzoo.dynamics.spectra.scaling import scale_values
from memzoo.dynamics.tracing import collect_tensors, leave_no_trace, widen_points
from memzoo.errors import NotDifferentiableError


@leave_no_trace
def radius_bracket(
    f: Map, x: Float[Tensor, "batch *shape"], *, squarings: int = 12, memory_limit: int = 2**30
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    r"""Bound the spectral radius of the Jacobian at each point from below and above, differentiably.

    For :math:`m = 1, 2, 4, \dots, 2^{squarings}`: :math:`(|tr J^m| / k)^{1/m} \le \rho(J) \le \|J^m\|_F^{1/m}`, k the
    rank. The gap closes like :math:`(\kappa k)^{1/m}`. Gradients reach the parameters of a module, so that
    the upper bound serves as a penalty that keeps training examples contracting, the lower one as its opposite. They
    are the bounds' own gradients: where the leading eigenvalues are a complex pair, the radius has another.

    The Jacobian is compared with differences of f, as in :func:`memzoo.dynamics.spectrum`. Where no way to it agrees
    with them, or the outputs rest under small steps, as those of a staircase, the bounds are 0 and infinity.

    Args:
        f: Self-map; modules in eval mode or without dropout and batch norm.
        x: Points.
        squarings: Each doubles m and costs one k x k product a point.
        memory_limit: As in :func:`memzoo.dynamics.spectrum`.

    Raises:
        NonFiniteError: NaN or infinity in ``x``, in the parameters of ``f`` or in a Jacobian.
        NotASelfMapError: ``f`` changes the shape of ``x``.
        NotDifferentiableError: Only differences of ``f`` agree with it, through which no gradient flows to its
            parameters or to ``x``.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> with torch.no_grad():
        ...     _ = model.weight.copy_(torch.tensor([[0.0, -1.2], [1.2, 0.0]]))
        >>> lower, upper = radius_bracket(model, torch.zeros(1, 2))
        >>> [round(bound.item(), 3) for bound in (lower, upper)]
        [1.2, 1.2]
        >>> upper.sum().backward()
        >>> model.weight.grad.round(decimals=2)
        tensor([[ 0.0000, -0.5000],
                [ 0.5000,  0.0000]])
    """
    check_batch(x, "x")
    check_module(f)
    x = widen_points(f, x, "x")
    jacobians = Jacobians(f, x, None, memory_limit)
    check_map(jacobians.wide, jacobians.points.detach())
    check_differentiable_self_map(jacobians.wide, jacobians.points)
    if jacobians.method == "arnoldi":
        jacobians.method = "dense"
    jacobians = choose_own_derivative(jacobians, x)
    if jacobians.method == "differences" and torch.is_grad_enabled():
        _refuse_gradient(f, x)
    check = build_check(jacobians)
    flat = x.to(jacobians.dtype).flatten(1).detach()
    bounds: list[Tensor] = []
    for rows in jacobians.split_into_blocks(x):
        factors = jacobians.form_factors(x[rows])
        refuse_non_finite(factors.finite, rows)
        others = flat[(rows + 1) % len(flat)]
        found = check.check(flat[rows], others, factors.push, staircase=not jacobians.affine, all_points=flat)
        unknown = ~found.mark("verified", "one-sided")
        factors, exponents = factors.change_units()
        delta = factors.bound_rounding().detach()
        pair = [scale_values(bound, exponents) for bound in bound_radius(factors.core(), delta, squarings)]
        lower, upper = torch.stack(pair).expand(2, len(rows))
        bounds.append(torch.stack([lower.masked_fill(unknown, 0), upper.masked_fill(unknown, torch.inf)]))
    lower, upper = torch.cat(bounds, 1)
    return lower, upper


def _refuse_gradient(f: Map, x: Tensor) -> None:
    """Raise an error if somebody may ask for a gradient of bounds that come from differences."""
    if x.requires_grad or any(tensor.requires_grad for tensor in collect_tensors(f).values()):
        raise NotDifferentiableError(
            f"autograd's derivative of {type(f).__name__} is not that of the map, and differences have no gradient; "
            "call radius_bracket under torch.no_grad() for the bounds alone, or remove what hides the input from "
            "autograd (no_grad, detach(), a backward of its own)."
        )


def bound_radius(matrix: Tensor, delta: Tensor, squarings: int = 12) -> tuple[Tensor, Tensor]:
    r"""Bound the spectral radius of every A within ``delta`` of ``matrix``, by squaring A again and again.

    :math:`(|tr A^m| / k)^{1/m} \le \rho(A) \le \|A^m\|^{1/m}` for m = 1, 2, 4, ...; the errors are carried along. The
    bounds hold for defective matrices too, where bounds from the conditions of eigenvectors say nothing; the price is a
    gap of up to a factor :math:`(\kappa k)^{1/m}`.
    """
    dim = matrix.shape[-1]
    unit = torch.finfo(matrix.dtype).eps
    rounding = unit * (dim + 2)  # of a product, and of the divisions of both factors by their norm
    tiny = torch.finfo(matrix.dtype).tiny
    largest = matrix.detach().abs().amax((-2, -1)).clamp(min=tiny)  # norms of extreme entries leave the number range
    # A^m = exp(m * log_scale) * (power + something of norm at most error), with m = 2^j
    power = matrix / largest[:, None, None]
    error = delta / largest
    log_scale = largest.log()
    most_log = log_scale.detach().abs()
    least = torch.zeros_like(delta)
    most = torch.full_like(delta, torch.inf)
    for j in range(squarings + 1):
        size = (torch.linalg.matrix_norm(power) + error).clamp(min=tiny)  # at least the norm of the true A^m
        power = power / size[:, None, None]
        error = error / size
        log_scale = log_scale + size.log() / 2**j
        # Each logarithm, sum and exponential is rounded, and so is the norm, a sum of squares.
        most_log = torch.maximum(most_log, log_scale.detach().abs())
        slack = unit * (2 * dim + 8 + 4 * (j + 2) * most_log)
        trace = power.diagonal(dim1=-2, dim2=-1).sum(-1).abs()
        # |tr E| <= sqrt(k) |E|, and |tr A^m| <= k rho^m
        trace = (trace - dim**0.5 * error).clamp(min=tiny)
        most = torch.minimum(most, (log_scale + slack).exp())  # every power bounds; rounding may spoil the later ones
        lower = (log_scale + (trace / dim).log() / 2**j - slack).exp()
        least = torch.maximum(least, torch.where(trace > tiny, lower, 0.0))
        # (P + E)^2 = P^2 + P E + E P + E^2, and the product is rounded
        norm = torch.linalg.matrix_norm(power)
        power = power @ power
        error = rounding * norm**2 + 2 * error * norm + error**2
    return least, most
