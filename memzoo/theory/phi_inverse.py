"""One nonlinear layer phi(A x): its solution in closed form, and the descent that finds it.

Both are Theorem 1 of the paper; the proof is in its Supplement B.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_steps
from memzoo.errors import InvalidArgumentError
from memzoo.theory.phi import Phi, phi_named
from memzoo.theory.span import Span, check_examples, span_of

SOLVABLE = 1e-8
"""Relative residual of A x_i = phi^-1(x_i) that rounding explains."""


def minimum_norm_preimage(examples: Float[Tensor, "n d"], phi: str | Phi) -> Float[Tensor, "d d"]:
    r"""Compute the weights that memorize: :math:`A = \phi^{-1}(X) X^+`, of least norm with :math:`\phi(A x_i) = x_i`.

    This is the limit in Theorem 1 of gradient descent with adaptive steps from A(0) = 0. By its corollary the examples
    are phi-eigenvectors with phi-eigenvalue 1, and :math:`\phi(A y)` lies in the phi-span for any y.

    Args:
        examples: One example a row, inside the range of phi.
        phi: A :class:`Phi` or the name of one.

    Returns:
        A in the dtype of ``examples``, computed in float64. Time O(d^2 n).

    Raises:
        ValueError: An example lies outside the range of phi; or no A fits, because the examples depend linearly on each
            other and their preimages do not in the same way.

    Example:
        >>> x = torch.tensor([[0.2, 0.7, 0.9]])
        >>> torch.sigmoid(x @ minimum_norm_preimage(x, "sigmoid").T)
        tensor([[0.2000, 0.7000, 0.9000]])
    """
    preimage = phi_named(phi).preimage(examples)
    span = span_of(examples)
    residual = _residual_outside(preimage, span)
    if residual > _tolerance(examples):
        raise InvalidArgumentError(
            f"no matrix fits A x_i = phi^-1(x_i): the best one misses by {residual:.2g} (relative), because these "
            f"{len(examples)} examples are linearly dependent and their preimages are not in the same way; drop the "
            "dependent examples."
        )
    solution = preimage.T @ span.pseudoinverse
    return solution.to(examples.dtype)


def is_solvable(examples: Float[Tensor, "n d"], phi: str | Phi) -> bool:
    """Tell whether some A satisfies A x_i = phi^-1(x_i) for all i, as is true for linearly independent examples.

    Theorem 1 takes n < d to be enough, which is not so. Of three examples on one line, one is a mixture of the other
    two, but its preimage under a curved phi is not the same mixture of the other preimages.

    Example:
        >>> x = torch.tensor([[0.2, 0.4, 0.3], [0.4, 0.8, 0.7]])
        >>> is_solvable(x, "sigmoid"), is_solvable(torch.cat([x, x.mean(0, keepdim=True)]), "sigmoid")
        (True, False)
    """
    preimage = phi_named(phi).preimage(examples)
    return _residual_outside(preimage, span_of(examples)) <= _tolerance(examples)


def adaptive_step_bound(examples: Float[Tensor, "n d"]) -> float:
    """Compute 1 / (n L d), the step below which Theorem 1 is proved.

    L is the largest ratio of coordinates within an example.

    Raises:
        ValueError: A coordinate is not positive.

    Example:
        >>> adaptive_step_bound(torch.tensor([[0.25, 0.75], [0.5, 0.75]]))  # 1 / (2 * 3 * 2)
        0.0833...
    """
    check_examples(examples)
    n, d = examples.shape
    x = examples.double()
    if not (x > 0).all():
        raise InvalidArgumentError(
            f"the bound needs coordinates > 0 (Assumption 1a), the smallest is {x.min():g}; scale the examples "
            "into (0, 1)."
        )
    # L in Theorem 1
    ratio = (x.amax(1) / x.amin(1)).max().item()
    return 1 / (n * ratio * d)


def adaptive_rates(examples: Float[Tensor, "n d"], phi: str | Phi) -> Float[Tensor, "n d"]:
    r"""Compute the divisors :math:`s_{ij} = (\phi(0) - x_{ij}) / \phi^{-1}(x_{ij})` of the adaptive step, in float64.

    They are minus the slope of the chord of phi from 0 to the preimage, so negative for increasing phi (Theorem 1).
    **The paper prints the opposite sign, with which the descent diverges.** Where x_ij = phi(0) the chord shrinks to a
    point and s is :math:`-\phi'(0)`.

    Example:
        >>> adaptive_rates(torch.tensor([[0.5, 0.9]]), "sigmoid")
        tensor([[-0.2500, -0.1820]], dtype=torch.float64)
    """
    phi = phi_named(phi)
    z = phi.preimage(examples)
    at_zero = z == 0
    chord = (phi.at_zero - examples.double()) / torch.where(at_zero, 1.0, z)
    return torch.where(at_zero, -phi.derivative(torch.zeros_like(z)), chord)


def adaptive_descent(
    examples: Float[Tensor, "n d"],
    phi: str | Phi,
    lr: float | None = None,
    steps: int = 10_000,
    start: Float[Tensor, "d d"] | None = None,
) -> Float[Tensor, "d d"]:
    r"""Run the gradient descent of Theorem 1, with one adaptive step for each example and output coordinate.

    Row j of A moves by :math:`\sum_i \frac{\gamma}{s_{ij}} (\phi(a_j \cdot x_i) - x_{ij})\, x_i`: the step
    :math:`\gamma / |s_{ij} \phi'|` makes the residual itself, not its product with the slope, drive the descent.

    Args:
        examples: One example a row; Theorem 1 holds under :func:`memzoo.theory.check_assumptions`.
        phi: A :class:`Phi` or the name of one.
        lr: Step :math:`\gamma`; 0.99 times :func:`adaptive_step_bound` when left out.
        steps: Number of steps.
        start: A(0); zero when left out, as the theorem has it.

    Returns:
        A after ``steps`` steps in the dtype of ``examples``, computed in float64. Time O(n d^2) a step.

    Raises:
        ValueError: An example lies outside the range of phi.

    Example:
        >>> x = torch.tensor([[0.2, 0.7, 0.9]])
        >>> torch.allclose(adaptive_descent(x, "sigmoid"), minimum_norm_preimage(x, "sigmoid"), atol=1e-6)
        True
    """
    check_steps(steps)
    phi = phi_named(phi)
    rates = adaptive_rates(examples, phi)
    if lr is None:
        lr = 0.99 * adaptive_step_bound(examples)
    if not 0 < lr < math.inf:
        raise InvalidArgumentError(f"lr must be a finite number > 0, got {lr!r}.")
    x = examples.double()
    d = x.shape[1]
    a = torch.zeros(d, d, dtype=x.dtype, device=x.device) if start is None else start.double().clone()
    scale = lr / rates
    for _ in range(steps):
        # Theorem 1: a_j += sum_i (g / s_ij) (phi(a_j x_i) - x_ij) x_i, for all rows j at once
        a += (scale * (phi.value(x @ a.T) - x)).T @ x
    return a.to(examples.dtype)


def _residual_outside(preimage: Float[Tensor, "n d"], span: Span) -> float:
    """Compute the relative part of the preimages that no A reaches: it lies outside the row space of the examples."""
    reached = span.coefficients @ (span.coefficients.T @ preimage)
    norm = preimage.norm().clamp(min=torch.finfo(preimage.dtype).tiny)
    return ((preimage - reached).norm() / norm).item()


def _tolerance(examples: Tensor) -> float:
    """Return the relative residual that rounding to the dtype of the examples explains."""
    return max(SOLVABLE, 100 * torch.finfo(examples.dtype).eps)
