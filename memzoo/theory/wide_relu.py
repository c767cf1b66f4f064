"""Two layers, the first one random and fixed: contraction as the width grows.

This is Theorem 3 of the paper; the proof is in its Supplement C.
"""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.errors import InvalidArgumentError, NonFiniteError
from memzoo.theory.span import check_examples

Distribution = Literal["normal", "uniform", "centred_exponential"]
"""Law of every entry of W1 and b, with mean 0 and variance 1; the last one is not symmetric."""


class FirstLayer(NamedTuple):
    """Compute the fixed first layer, relu(W1 x + b)."""

    weight: Float[Tensor, "k d"]
    bias: Float[Tensor, " k"]

    def features(self, examples: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Compute relu(W1 x_i + b), one row an example."""
        return self.preactivation(examples).relu()

    def preactivation(self, examples: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Compute W1 x_i + b, one row an example."""
        return examples @ self.weight.T + self.bias

    def double(self) -> "FirstLayer":
        """Convert W1 and b to float64."""
        return FirstLayer(self.weight.double(), self.bias.double())


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
        width: Number k of hidden units.
        d: Number of entries of an input.
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
    r"""Compute the limit :math:`W_2 = X \Phi^+` of gradient descent from zero on the second layer.

    :math:`\Phi` is k x n. The limit is exact for any examples. For one example it is
    :math:`x \varphi^T / \|\varphi\|^2`, as in Theorem 3.

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
    # X Phi^+
    weights = examples.double().T @ _inverse_features(examples, first)
    return weights.to(examples.dtype)


def orthogonal_second_layer(examples: Float[Tensor, "n d"], first: FirstLayer) -> Float[Tensor, "d k"]:
    r"""Compute the second layer of Theorem 3, :math:`W_2 = \sum_i x_i \varphi_i^T / \|\varphi_i\|^2`.

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
    # X diag(1 / |phi_i|^2) Phi^T
    return (examples.T / squares) @ phi


def contraction_matrices(examples: Float[Tensor, "n d"], first: FirstLayer) -> Float[Tensor, "n n n"]:
    r"""Compute :math:`\Phi^+ D_j W_1 X` for each example j, which has the nonzero eigenvalues of the Jacobian at x_j.

    :math:`J(x_j) = X \Phi^+ D_j W_1` is d x d of rank at most n; its nonzero eigenvalues are those of the product
    in the other order, n x n. D_j marks the active units.

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
    x = examples.double()
    layer = first.double()
    # the diagonals of the D_j
    active = (layer.preactivation(x) > 0).double()
    # W1 X without the bias, since D_j W1 is the Jacobian of the features
    products = layer.weight @ x.T
    return torch.stack([(inverse * diagonal) @ products for diagonal in active])


def limit_radius(example: Float[Tensor, " d"]) -> float:
    r"""Compute :math:`\|x\|^2 / (\|x\|^2 + 1)`, the only nonzero eigenvalue at a single example for infinite width.

    This is the limit of Theorem 3. It holds for n = 1 (or orthogonal features) and **symmetric** laws of W1 and b: then
    half of the second moments falls on the active units. Mean zero, as printed, is not enough.

    Example:
        >>> limit_radius(torch.tensor([1.0, 1.0, 1.0]))
        0.75
    """
    check_examples(example[None])
    square = example.double().square().sum().item()
    return square / (square + 1)


def gaussian_limit_matrices(examples: Float[Tensor, "n d"]) -> Float[Tensor, "n n n"]:
    r"""Compute the limits of :func:`contraction_matrices` for infinite width and Gaussian W1, b, for any examples.

    With :math:`\tilde x = (x, 1)` and the angle :math:`\theta_{ij}` between two of them,
    :math:`\Phi^T \Phi / k \to K` and :math:`\Phi^T D_j W_1 X / k \to M_j`, where

    .. math::
        2\pi K_{ij} &= \|\tilde x_i\| \|\tilde x_j\| \sin\theta_{ij}
            + (\pi - \theta_{ij})\, \tilde x_i \cdot \tilde x_j \\
        2\pi (M_j)_{il} &= \frac{\|\tilde x_i\|}{\|\tilde x_j\|} \sin\theta_{ij}\; x_j \cdot x_l
            + (\pi - \theta_{ij})\, x_i \cdot x_l

    (the arc-cosine kernel of degree 1 of Cho and Saul, 2009, and its gradient); the limit is :math:`K^{-1} M_j`. The
    paper does not have it, as it assumes orthogonal features. For n > 1 the radius can exceed 1: a wide network is then
    not contractive.

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
    unit = torch.cat([x, torch.ones_like(x[:, :1])], 1) / norm[:, None]
    # The angle comes from half chords, since acos loses half the digits where the angle is small.
    chord = (unit[:, None] - unit).norm(dim=2)
    opposite = (unit[:, None] + unit).norm(dim=2)
    angle = 2 * torch.atan2(chord, opposite)
    if (chord + torch.eye(len(x), dtype=x.dtype, device=x.device) == 0).any():
        raise InvalidArgumentError("two examples are equal, so that their features are; drop the duplicates.")
    sine = angle.sin()
    supplement = math.pi - angle
    # 2 pi K_ij
    kernel = norm[:, None] * norm * sine + supplement * lifted
    # 2 pi (M_j)_il, with axes j, i, l
    ratio = norm[:, None] / norm * sine
    moment = ratio.T[:, :, None] * gram[:, None, :] + supplement.T[:, :, None] * gram
    return torch.linalg.solve(kernel, moment)


def spectral_radii(matrices: Float[Tensor, "m n n"]) -> Float[Tensor, " m"]:
    """Compute the largest modulus of the eigenvalues of each matrix.

    Raises:
        NonFiniteError: NaN or infinity in a matrix.

    Example:
        >>> spectral_radii(torch.tensor([[[0.0, 1.0], [-0.25, 0.0]]]))
        tensor([0.5000])
    """
    # LAPACK may crash on NaN.
    if not matrices.isfinite().all():
        raise NonFiniteError("a matrix holds NaN or infinity, so it has no eigenvalues; check examples and weights.")
    return torch.linalg.eigvals(matrices).abs().amax(-1)


def _inverse_features(examples: Tensor, first: FirstLayer) -> Float[Tensor, "n k"]:
    r"""Compute :math:`\Phi^+` in float64; raise an error if the features are linearly dependent."""
    check_examples(examples)
    if first.weight.shape[1] != examples.shape[1]:
        raise InvalidArgumentError(
            f"the first layer takes points of {first.weight.shape[1]} numbers, got examples {tuple(examples.shape)}."
        )
    phi = first.double().features(examples.double())
    left, singular, right = torch.linalg.svd(phi, full_matrices=False)
    # of the largest singular value, which a layer without units does not have
    rounding = max(phi.shape) * torch.finfo(phi.dtype).eps * singular[:1]
    if len(singular) < len(phi) or singular[-1] <= rounding:
        raise InvalidArgumentError(
            f"the features of these {len(phi)} examples are linearly dependent at width {phi.shape[1]}, so no second "
            "layer reproduces them all; use a larger width and drop duplicates."
        )
    return left / singular @ right
