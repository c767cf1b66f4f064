"""Two layers, the first one random and fixed: contraction as the width grows (Theorem 3)."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.errors import InvalidArgumentError, NonFiniteError
from memzoo.theory.span import check_examples

Distribution = Literal["normal", "uniform", "centred_exponential"]
"""Of every entry of W1 and b: mean 0, variance 1; the last one is not symmetric."""


class FirstLayer(NamedTuple):
    """The fixed first layer: x to relu(W1 x + b)."""

    weight: Float[Tensor, "k d"]
    bias: Float[Tensor, " k"]

    def features(self, examples: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """relu(W1 x_i + b), one row an example."""
        return self.preactivation(examples).relu()

    def preactivation(self, examples: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """W1 x_i + b."""
        return examples @ self.weight.T + self.bias


def random_features(
    width: int,
    d: int,
    generator: torch.Generator | None = None,
    *,
    distribution: Distribution = "normal",
    dtype: torch.dtype | None = None,
) -> FirstLayer:
    """Draw W1 and b with independent, identically distributed entries of mean 0 and variance 1.

    Args:
        width: Hidden units k.
        d: Size of an input.
        generator: Source of the numbers; PyTorch's global one when left out.
        distribution: Law of one entry. Theorem 3 needs a symmetric one, although the paper asks for mean 0 only.
        dtype: PyTorch's default when left out.

    Raises:
        ValueError: An unknown distribution, or a size below 1.

    Example:
        >>> random_features(5, 3, torch.Generator().manual_seed(0)).weight.shape
        torch.Size([5, 3])
    """
    if width < 1 or d < 1:
        raise InvalidArgumentError(f"width and d must be at least 1, got {width} and {d}.")
    entries = torch.empty(width, d + 1, dtype=dtype)
    match distribution:
        case "normal":
            entries.normal_(generator=generator)
        case "uniform":
            entries.uniform_(-math.sqrt(3), math.sqrt(3), generator=generator)
        case "centred_exponential":
            entries.exponential_(generator=generator).sub_(1)
        case _:
            raise InvalidArgumentError(
                f"distribution must be normal, uniform or centred_exponential, got {distribution!r}."
            )
    return FirstLayer(entries[:, :d].contiguous(), entries[:, d].contiguous())


def second_layer(examples: Float[Tensor, "n d"], first: FirstLayer) -> Float[Tensor, "d k"]:
    r"""The trained second layer :math:`W_2 = X \Phi^+`, where gradient descent from zero ends; :math:`\Phi` k x n.

    Exact for any examples. For one example it is :math:`x \varphi^T / \|\varphi\|^2`.

    Returns:
        W2 in the dtype of ``examples``. Time O(k n^2 + k n d).

    Raises:
        ValueError: The features are linearly dependent, so that no W2 reproduces all examples.

    Example:
        >>> x = torch.tensor([[0.2, 0.7]])
        >>> first = random_features(50, 2, torch.Generator().manual_seed(0))
        >>> torch.allclose(first.features(x) @ second_layer(x, first).T, x)
        True
    """
    return (examples.double().T @ _inverse_features(examples, first)).to(examples.dtype)


def orthogonal_second_layer(examples: Float[Tensor, "n d"], first: FirstLayer) -> Float[Tensor, "d k"]:
    r"""The paper's formula :math:`W_2 = \sum_i x_i \varphi_i^T / \|\varphi_i\|^2`.

    It equals :func:`second_layer` for orthogonal features (assumption b) and for n = 1. Gaussian features of several
    examples are not orthogonal: all entries are at least 0, and two examples share active units.

    Raises:
        ValueError: An example activates no unit.

    Example:
        >>> x = torch.eye(2)
        >>> first = FirstLayer(torch.eye(2), torch.zeros(2))
        >>> orthogonal_second_layer(x, first)
        tensor([[1., 0.],
                [0., 1.]])
    """
    check_examples(examples)
    phi = first.features(examples)
    squares = phi.square().sum(1)
    if not (squares > 0).all():
        row = int((squares == 0).nonzero()[0])
        raise InvalidArgumentError(f"example {row} activates none of the {phi.shape[1]} units; use a larger width.")
    return (examples.T / squares) @ phi


def contraction_matrices(examples: Float[Tensor, "n d"], first: FirstLayer) -> Float[Tensor, "n n n"]:
    r"""For each example j the matrix :math:`\Phi^+ D_j W_1 X`, whose eigenvalues are those of the Jacobian at x_j.

    :math:`J(x_j) = X \Phi^+ D_j W_1` is d x d of rank at most n; its nonzero eigenvalues are those of the product in
    the other order, n x n. D_j marks the active units.

    Returns:
        Float64, one matrix an example. Time O(n^2 k (n + d)).

    Raises:
        ValueError: The features are linearly dependent.

    Example:
        >>> x = torch.tensor([[1.0, 0.0]])
        >>> contraction_matrices(x, FirstLayer(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.ones(2)))
        tensor([[[0.5000]]], dtype=torch.float64)
    """
    inverse = _inverse_features(examples, first)
    weight, x = first.weight.double(), examples.double()
    active = (FirstLayer(weight, first.bias.double()).preactivation(x) > 0).double()
    return torch.stack([(inverse * d) @ (weight @ x.T) for d in active])


def limit_radius(example: Float[Tensor, " d"]) -> float:
    r""":math:`\|x\|^2 / (\|x\|^2 + 1)`, the only nonzero eigenvalue at a single example for infinite width.

    Holds for n = 1 (or orthogonal features) and **symmetric** laws of W1 and b: then half of the second moments falls
    on the active units. Mean zero, as printed, is not enough.

    Example:
        >>> limit_radius(torch.tensor([1.0, 1.0, 1.0]))
        0.75
    """
    check_examples(example[None])
    square = example.double().square().sum().item()
    return square / (square + 1)


def gaussian_limit_matrices(examples: Float[Tensor, "n d"]) -> Float[Tensor, "n n n"]:
    r"""The limits of :func:`contraction_matrices` for infinite width and Gaussian W1, b, for any number of examples.

    With :math:`\tilde x = (x, 1)` and the angle :math:`\theta_{ij}` between two of them,
    :math:`\Phi^T \Phi / k \to K` and :math:`\Phi^T D_j W_1 X / k \to M_j`, where

    .. math::
        2\pi K_{ij} &= \|\tilde x_i\| \|\tilde x_j\| \sin\theta_{ij}
            + (\pi - \theta_{ij})\, \tilde x_i \cdot \tilde x_j \\
        2\pi (M_j)_{il} &= \frac{\|\tilde x_i\|}{\|\tilde x_j\|} \sin\theta_{ij}\; x_j \cdot x_l
            + (\pi - \theta_{ij})\, x_i \cdot x_l

    (the arc-cosine kernel of degree 1 and its gradient); the limit is :math:`K^{-1} M_j`. Not in the paper, which
    assumes orthogonal features. For n > 1 the radius can exceed 1: wide is then not contractive.

    Returns:
        Float64, one matrix an example. Time O(n^4 + n^2 d).

    Raises:
        ValueError: Two examples are equal.

    Example:
        >>> gaussian_limit_matrices(torch.tensor([[1.0, 1.0, 1.0]]))
        tensor([[[0.7500]]], dtype=torch.float64)
    """
    check_examples(examples)
    x = examples.double()
    gram = x @ x.T
    lifted = gram + 1
    norm = lifted.diagonal().sqrt()
    # the angle by half-chords: acos loses half the digits where it is small
    unit = torch.cat([x, torch.ones_like(x[:, :1])], 1) / norm[:, None]
    chord, opposite = (unit[:, None] - unit).norm(dim=2), (unit[:, None] + unit).norm(dim=2)
    angle = 2 * torch.atan2(chord, opposite)
    if (chord + torch.eye(len(x), dtype=x.dtype, device=x.device) == 0).any():
        raise InvalidArgumentError("two examples are equal, so that their features are; drop the duplicates.")
    kernel = norm[:, None] * norm * angle.sin() + (math.pi - angle) * lifted
    ratio = norm[:, None] / norm * angle.sin()  # [i, j]
    moment = ratio.T[:, :, None] * gram[:, None, :] + (math.pi - angle).T[:, :, None] * gram  # [j, i, l]
    return torch.linalg.solve(kernel, moment)


def spectral_radii(matrices: Float[Tensor, "m n n"]) -> Float[Tensor, " m"]:
    """Largest modulus of the eigenvalues of each matrix.

    Raises:
        NonFiniteError: NaN or infinity in a matrix.

    Example:
        >>> spectral_radii(torch.tensor([[[0.0, 1.0], [-0.25, 0.0]]]))
        tensor([0.5000])
    """
    if not matrices.isfinite().all():  # LAPACK may crash on NaN
        raise NonFiniteError("a matrix holds NaN or infinity, so it has no eigenvalues; check examples and weights.")
    return torch.linalg.eigvals(matrices).abs().amax(-1)


def _inverse_features(examples: Tensor, first: FirstLayer) -> Float[Tensor, "n k"]:
    r""":math:`\Phi^+` in float64, of independent features."""
    check_examples(examples)
    if first.weight.shape[1] != examples.shape[1]:
        raise InvalidArgumentError(
            f"the first layer takes points of {first.weight.shape[1]} numbers, got examples {tuple(examples.shape)}."
        )
    phi = FirstLayer(first.weight.double(), first.bias.double()).features(examples.double())
    left, singular, right = torch.linalg.svd(phi, full_matrices=False)
    if len(singular) < len(phi) or singular[-1] <= max(phi.shape) * torch.finfo(phi.dtype).eps * singular[0]:
        raise InvalidArgumentError(
            f"the features of these {len(phi)} examples are linearly dependent at width {phi.shape[1]}, so no second "
            "layer reproduces them all; use a larger width and drop duplicates."
        )
    return left / singular @ right
