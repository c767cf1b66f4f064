"""One linear layer: gradient descent projects onto the span of the examples (Section 2, Supplements A and I.2)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch, check_steps
from memzoo.errors import InvalidArgumentError
from memzoo.theory.span import span_of


def step_bound(examples: Float[Tensor, "n d"]) -> float:
    r""":math:`1/\lambda_1(S)` with :math:`S = \sum_i x_i x_i^T`, the step below which Supplement A proves convergence.

    For gradient descent on *half the sum* of squares; on the mean over n examples and d coordinates, as the networks of
    :mod:`memzoo.models` train, the same step is n d / 2 times as large. Infinite where all examples are zero.

    Example:
        >>> step_bound(torch.tensor([[3.0, 4.0]]))
        0.04
    """
    singular = span_of(examples).singular_values
    return 1 / singular[0].item() ** 2 if len(singular) else math.inf


def gradient_descent_solution(
    examples: Float[Tensor, "n d"],
    lr: float,
    t: float,
    start: Float[Tensor, "d d"] | None = None,
    *,
    overshoot: bool = False,
) -> Float[Tensor, "d d"]:
    r"""The weights of a linear autoencoder after ``t`` steps of gradient descent, in closed form.

    .. math:: A(t) = I - (I - A(0)) (I - \gamma S)^t, \qquad S = \sum_i x_i x_i^T

    for :math:`L(A) = \tfrac12 \sum_i \|A x_i - x_i\|^2` (Supplement A, and I.2 for :math:`A(0) \neq 0`).

    Args:
        examples: One example a row.
        lr: Step :math:`\gamma`, below :func:`step_bound`.
        t: Steps, a whole number or ``math.inf`` for the limit.
        start: A(0); zero when left out.
        overshoot: Also allow steps from :math:`1/\lambda_1(S)` up to :math:`2/\lambda_1(S)`, exclusive: the equation
            and its limit stay the same, but the error along the leading directions changes sign at every step.

    Returns:
        A(t) in the dtype of ``examples``, computed in float64. Time O(d^2 n), whatever t.

    Raises:
        ValueError: The step is not positive or too large, or ``t`` is no number of steps.

    Example:
        >>> gradient_descent_solution(torch.tensor([[1.0, 0.0]]), lr=0.5, t=2)
        tensor([[0.7500, 0.0000],
                [0.0000, 0.0000]])
    """
    found = span_of(examples)
    largest = found.singular_values[0].item() ** 2 if found.rank else 0.0
    _check_rate(lr, largest, overshoot)
    if t != math.inf:
        check_steps(int(t) if isinstance(t, float) and t.is_integer() else t)  # type: ignore[arg-type]
    identity, first = _identity_and_start(examples, start)
    left = 1 - lr * found.singular_values**2  # eigenvalues of I - g S along the span
    fitted = torch.ones_like(left) if t == math.inf else 1 - left**t
    # (I - g S)^t = I - V diag(fitted) V^T
    a = first + (identity - first) @ (found.basis * fitted) @ found.basis.T
    return a.to(examples.dtype)


def minimum_norm_solution(
    examples: Float[Tensor, "n d"], start: Float[Tensor, "d d"] | None = None
) -> Float[Tensor, "d d"]:
    r"""Where gradient descent ends: the projection P onto the span, plus what it never changes.

    :math:`A(\infty) = P + A(0)(I - P)`. From zero this is the solution of least Frobenius norm, with eigenvalue 1 as
    often as the examples have dimensions and 0 otherwise: the network maps any input into the span. The part of A(0)
    orthogonal to the span stays.

    Example:
        >>> minimum_norm_solution(torch.tensor([[2.0, 0.0]]), start=torch.full((2, 2), 0.1))
        tensor([[1.0000, 0.1000],
                [0.0000, 0.1000]])
    """
    found = span_of(examples)
    identity, first = _identity_and_start(examples, start)
    return (first + (identity - first) @ found.basis @ found.basis.T).to(examples.dtype)


def singular_value_bound(
    examples: Float[Tensor, "n d"], start: Float[Tensor, "d d"] | None = None
) -> Float[Tensor, " d"]:
    r"""Upper bounds on the singular values of the limit, largest first (Supplement I.2).

    By Weyl's inequality :math:`\sigma_i(A(\infty)) \le \sigma_i(P) + \sigma_1(A(0))`: 1 + :math:`\sigma_1(A(0))` for
    each dimension of the span, :math:`\sigma_1(A(0))` for the rest. A small start memorizes with as little noise.

    Example:
        >>> singular_value_bound(torch.tensor([[2.0, 0.0]]), start=0.5 * torch.eye(2))
        tensor([1.5000, 0.5000])
    """
    found = span_of(examples)
    _, first = _identity_and_start(examples, start)
    projection = (torch.arange(examples.shape[1], device=examples.device) < found.rank).double()
    return (projection + torch.linalg.matrix_norm(first, 2)).to(examples.dtype)


def _identity_and_start(examples: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
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
