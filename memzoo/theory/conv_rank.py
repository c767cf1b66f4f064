"""One convolutional filter learns an operator of full rank, so it does not memorize (Theorem 4, Supplement D)."""

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch
from memzoo.errors import InvalidArgumentError
from memzoo.theory.layer_matrices import convolution_matrix
from memzoo.theory.span import span_of


def trained_filter(image: Float[Tensor, "s s"], kernel: int = 3) -> Float[Tensor, "k k"]:
    r"""Compute the filter w to which gradient descent from zero converges on one image, in closed form.

    Each pixel is the product of w with the patch around it, so training is linear regression of the pixels on the
    patches, P w = x, and :math:`w = P^+ x` (Supplement D). The identity filter always fits. Where the k^2 shifts of the
    image are linearly independent it is the only solution: **the layer learns the identity**, the opposite of
    memorizing.

    Args:
        image: One square image.
        kernel: Odd size k of the filter; zero padding (k - 1) / 2.

    Returns:
        The filter in the dtype of ``image``, computed in float64. Time O(s^2 k^4).

    Raises:
        ValueError: The image is not square, or the kernel not odd.

    Example:
        >>> trained_filter(torch.tensor([[1.0, 1.0], [1.0, 1.0]])) * 9
        tensor([[1., 2., 1.],
                [2., 4., 2.],
                [1., 2., 1.]])
    """
    _check_image(image, kernel)
    x = image.double()
    # row p of P is the patch around pixel p
    patches = torch.nn.functional.unfold(x[None, None], kernel, padding=(kernel - 1) // 2)[0].T
    # w = P^+ x
    weights = span_of(patches).pseudoinverse.T @ x.flatten()
    return weights.reshape(kernel, kernel).to(image.dtype)


def trained_operator(image: Float[Tensor, "s s"], kernel: int = 3) -> Float[Tensor, "d d"]:
    r"""Compute the matrix of the layer after training on one image; its rank is almost always s^2 (Theorem 4).

    The matrix maps vectorised images. The proof counts s^2 regression problems and does not show that the filter keeps
    them independent, and there are exceptions: the zero image (w = 0, rank 0), and the 3 x 3 image with ones at the
    four edge midpoints, of which few shifts are independent. The filter of that image has 1/2 in the middle and 1/4 in
    the corners, and rank 7.

    Example:
        >>> cross = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
        >>> int(torch.linalg.matrix_rank(trained_operator(cross)))
        7
        >>> int(torch.linalg.matrix_rank(trained_operator(torch.rand(4, 4, dtype=torch.float64))))
        16
    """
    return convolution_matrix(trained_filter(image, kernel), len(image))


def _check_image(image: Tensor, kernel: int) -> None:
    """Raise an error unless the image is square and the kernel odd."""
    check_batch(image, "image")
    if image.ndim != 2 or image.shape[0] != image.shape[1]:
        raise InvalidArgumentError(f"image must be square (s, s), one channel, got {tuple(image.shape)}.")
    if kernel < 1 or kernel % 2 == 0:
        raise InvalidArgumentError(f"kernel must be odd, so that it has a middle, got {kernel}.")
