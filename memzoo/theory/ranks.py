"""The rank of the nonlinear solution, which is not always that of the examples (the corollary of Theorem 1)."""

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.theory.phi import Phi, phi_named
from memzoo.theory.span import rounding_floor, span_of


def rank_of_examples(examples: Float[Tensor, "n d"]) -> int:
    """Compute the dimension of span(X), which the corollary of Theorem 1 prints as the rank of A.

    Example:
        >>> rank_of_examples(torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
        1
    """
    return span_of(examples).rank


def rank_of_solution(examples: Float[Tensor, "n d"], phi: str | Phi) -> int:
    r"""Compute the rank of :math:`A = \phi^{-1}(X) X^+`, which is that of :math:`\phi^{-1}(X)`.

    Wherever A fits, :math:`\phi^{-1}(X) = A X` and :math:`A = \phi^{-1}(X) X^+` bound each rank by the other. The
    paper's corollary prints dim span(X) instead: its proof takes eigenvectors of :math:`\phi(A\,\cdot)` for vectors in
    the range of A. See :func:`rank_counterexample`. Preimages count as dependent where rounding of the examples
    explains why they differ.

    Raises:
        ValueError: An example lies outside the range of phi.

    Example:
        >>> rank_of_solution(torch.tensor([[0.2, 0.7, 0.9], [0.3, 0.8, 0.9]]), "sigmoid")
        2
    """
    phi = phi_named(phi)
    z = phi.preimage(examples)
    singular = torch.linalg.svdvals(z)
    # An entry that is rounded by eps |x| has a preimage that is off by eps |x / phi'(z)|.
    errors = torch.finfo(examples.dtype).eps * examples.double() / phi.derivative(z)
    significant = singular > rounding_floor(singular, z.shape, errors.norm())
    return int(significant.sum())


def rank_counterexample(direction: Float[Tensor, " d"], phi: str | Phi) -> Float[Tensor, "2 d"]:
    r"""Construct two examples :math:`\phi(v), \phi(2v)` that are independent while their solution has rank 1.

    They contradict the rank that the corollary of Theorem 1 prints. With the sigmoid and a ``direction`` v without
    zeros they satisfy Assumption 1.

    Example:
        >>> pair = rank_counterexample(torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64), "sigmoid")
        >>> rank_of_examples(pair), rank_of_solution(pair, "sigmoid")
        (2, 1)
    """
    return phi_named(phi).value(torch.stack([direction, 2 * direction]))
