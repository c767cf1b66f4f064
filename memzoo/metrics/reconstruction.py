"""The error with which an autoencoder reproduces its inputs."""

from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.errors import InvalidArgumentError
from memzoo.metrics.pairs import check_pairs
from memzoo.metrics.row_mean import RowMean

Error = Literal["relative", "mse"]


def reconstruction_error(
    outputs: Float[Tensor, "batch *shape"], inputs: Float[Tensor, "batch *shape"], *, kind: Error = "relative"
) -> Float[Tensor, " batch"]:
    r"""Compute the error of each reconstruction, by subtraction in float64.

    ``"relative"`` is :math:`\|f(x) - x\|_2 / \|x\|_2`, dimensionless. An input that is zero has error 0 if it is
    reproduced exactly and infinity if not: measure blank images by ``"mse"``.

    ``"mse"`` is the mean over the coordinates of :math:`(f(x) - x)^2`, in squared units of the data; its mean over
    images is the number that the paper prints with Figure 11.

    A small error shows neither memorization nor its absence: the identity has no error. An error of 1e-8 is not yet a
    fixed point: see :func:`memzoo.dynamics.certify`.

    Args:
        outputs: f(x), row by row.
        inputs: x.
        kind: One of the two.

    Returns:
        Errors in float64; NaN for an output that is not finite.

    Raises:
        TypeError: Images are integers.
        ValueError: Outputs and inputs have different shapes, or ``kind`` is unknown.

    Example:
        >>> x, y = torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 5.0]])
        >>> reconstruction_error(y, x), reconstruction_error(y, x, kind="mse")
        (tensor([0.2000], dtype=torch.float64), tensor([0.5000], dtype=torch.float64))
    """
    check_pairs(outputs, inputs, "outputs and inputs")
    _check_kind(kind)
    x = inputs.flatten(1).double()
    gap = outputs.flatten(1).double() - x
    if kind == "mse":
        return gap.square().mean(1)
    error = gap.norm(dim=1)
    # 0 / 0 would be NaN for a blank image that is reproduced exactly.
    return torch.where(error == 0, 0.0, error / x.norm(dim=1))


def _check_kind(kind: str) -> None:
    """Raise an error unless the kind is known."""
    if kind not in ("relative", "mse"):
        raise InvalidArgumentError(f"kind must be 'relative' or 'mse', got {kind!r}.")


@final
class ReconstructionError(RowMean):
    """Average :func:`reconstruction_error` over batches and processes; NaN before the first row.

    Args:
        kind: ``"relative"`` or ``"mse"``.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> metric = ReconstructionError()
        >>> metric.update(torch.tensor([[3.0, 5.0], [0.0, 1.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        >>> metric.compute()
        tensor(0.1000, dtype=torch.float64)
    """

    def __init__(self, *, kind: Error = "relative", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _check_kind(kind)
        self.kind: Error = kind

    def update(self, outputs: Float[Tensor, "batch *shape"], inputs: Float[Tensor, "batch *shape"]) -> None:
        """Add the outputs of a batch of inputs."""
        errors = reconstruction_error(outputs.detach(), inputs.detach(), kind=self.kind)
        self.add(errors)
