"""One linear layer: gradient descent from zero projects onto the span of the examples.

The closed form at every step is that of Section 2 and Supplement A of the paper; what a start other than zero leaves
behind is in Supplement I.2.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch, check_steps
from memzoo.errors import InvalidArgumentError
from memzoo.theory.span import span_of


def step_bound(examples: Float[Tensor, "n d"]) -> float:
    r"""Compute the step :math:`1/\lambda_1(S)` below which Supplement A proves convergence.

    :math:`S = \sum_i x_i x_i^T`, and gradient descent is on *half the sum* of squares; on the mean over n examples and
    d coordinates, as the networks of :mod:`memzoo.models` train, the same step is n d / 2 times as large. It is
    infinite where all examples are zero.

    Example:
        >>> step_bound(torch.tensor([[3.0, 4.0]]))
        0.04
    """
    singular_values = span_of(examples).singular_values
    # lambda_1(S) = sigma_1(X)^2
    return 1 / singular_values[0].item() ** 2 if len(singular_values) else math.inf


def gradient_descent_solution(
    examples: Float[Tensor, "n d"],
    lr: float,
    t: float,
    start: Float[Tensor, "d d"] | None = None,
    *,
    overshoot: bool = False,
) -> Float[Tensor, "d d"]:
    r"""Compute the weights of a linear autoencoder after ``t`` steps of gradient descent, in closed form.

    .. math:: A(t) = I - (I - A(0)) (I - \gamma S)^t, \qquad S = \sum_i x_i x_i^T

    for :math:`L(A) = \tfrac12 \sum_i \|A x_i - x_i\|^2` (Supplement A, and I.2 for :math:`A(0) \neq 0`).

    Args:
        examples: One example a row.
        lr: Step :math:`\gamma`, below :func:`step_bound`.
        t: Number of steps, a whole number or ``math.inf`` for the limit.
        start: A(0); zero when left out.
        overshoot: Whether to allow steps also from :math:`1/\lambda_1(S)` up to :math:`2/\lambda_1(S)`, exclusive: the
            equation and its limit stay the same, but the error along the leading directions changes sign at every step.

    Returns:
        A(t) in the dtype of ``examples``, computed in float64. Time O(d^2 n), whatever t.

    Raises:
        ValueError: The step is not positive or too large, or ``t`` is not a number of steps.

    Example:
        >>> gradient_descent_solution(torch.tensor([[1.0, 0.0]]), lr=0.5, t=2)
        tensor([[0.7500, 0.0000],
                [0.0000, 0.0000]])
    """
    span = span_of(examples)
    largest = span.singular_values[0].item() ** 2 if span.rank else 0.0
    _check_rate(lr, largest, overshoot)
    if t != math.inf:
        check_steps(int(t) if isinstance(t, float) and t.is_integer() else t)  # type: ignore[arg-type]
    identity, first = _identity_and_start(examples, start)
    # the eigenvalues of I - g S along the span, each the share of the error that one step leaves
    left = 1 - lr * span.singular_values**2
    fitted = torch.ones_like(left) if t == math.inf else 1 - left**t
    # Supplement A: (I - g S)^t = I - V diag(fitted) V^T
    a = first + (identity - first) @ (span.basis * fitted) @ span.basis.T
    return a.to(examples.dtype)


def minimum_norm_solution(
    examples: Float[Tensor, "n d"], start: Float[Tensor, "d d"] | None = None
) -> Float[Tensor, "d d"]:
    r"""Compute the limit of gradient descent: the projection P onto the span, plus the part that it never changes.

    :math:`A(\infty) = P + A(0)(I - P)` (Section 2; Supplement I.2 for :math:`A(0) \neq 0`). From zero this is the
    solution of least Frobenius norm, with eigenvalue 1 as often as the examples have dimensions and 0 otherwise: the
    network maps any input into the span. The part of A(0) orthogonal to the span stays.

    Example:
        >>> minimum_norm_solution(torch.tensor([[2.0, 0.0]]), start=torch.full((2, 2), 0.1))
        tensor([[1.0000, 0.1000],
                [0.0000, 0.1000]])
    """
    basis = span_of(examples).basis
    identity, first = _identity_and_start(examples, start)
    # P + A(0)(I - P) with P = V V^T
    limit = first + (identity - first) @ basis @ basis.T
    return limit.to(examples.dtype)


def singular_value_bound(
    examples: Float[Tensor, "n d"], start: Float[Tensor, "d d"] | None = None
) -> Float[Tensor, " d"]:
    r"""Bound the singular values of the limit from above, largest first (Supplement I.2).

    By Weyl's inequality :math:`\sigma_i(A(\infty)) \le \sigma_i(P) + \sigma_1(A(0))`: 1 + :math:`\sigma_1(A(0))` for
    each dimension of the span, :math:`\sigma_1(A(0))` for the rest. A small start adds little noise to the
    memorization.

    Example:
        >>> singular_value_bound(torch.tensor([[2.0, 0.0]]), start=0.5 * torch.eye(2))
        tensor([1.5000, 0.5000])
    """
    rank = span_of(examples).rank
    _, first = _identity_and_start(examples, start)
    # the singular values of the projection: 1 in the span, 0 outside
    projection = (torch.arange(examples.shape[1], device=examples.device) < rank).double()
    bounds = projection + torch.linalg.matrix_norm(first, 2)
    return bounds.to(examples.dtype)


def _identity_and_start(examples: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the identity and A(0), both in float64; refuse a start of another shape."""
    d = examples.shape[1]
    identity = torch.eye(d, dtype=torch.float64, device=examples.device)
    if start is None:
        return identity, torch.zeros_like(identity)
    check_batch(start, "start")
    if start.shape != (d, d):
        raise InvalidArgumentError(
            f"start must be a matrix of examples' dimension, ({d}, {d}), got {tuple(start.shape)}."
        )
    return identity, start.double()


def _check_rate(lr: float, largest: float, overshoot: bool) -> None:
    """Refuse a step with which gradient descent diverges, or overshoots without leave; ``largest`` is lambda_1(S)."""
    if not 0 < lr < math.inf:
        raise InvalidArgumentError(f"lr must be a finite number > 0, got {lr!r}.")
    if lr * largest >= 2:
        raise InvalidArgumentError(
            f"gradient descent with lr = {lr:g} does not converge on these examples: it needs lr < 2/lambda_1(S) = "
            f"{2 / largest:.6g}, and the theorem asks for lr < 1/lambda_1(S) = {1 / largest:.6g}; lower lr."
        )
    if lr * largest >= 1 and not overshoot:
        raise InvalidArgumentError(
            f"the theorem needs lr < 1/lambda_1(S) = {1 / largest:.6g} (see step_bound), got {lr:g}; up to twice that "
            "gradient descent still converges to the same limit but overshoots: lower lr, or pass overshoot=True."
        )
