"""How well an autoencoder reproduces its inputs."""

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
    r"""Error of each reconstruction, by subtraction in float64.

    ``"relative"``: :math:`\|f(x) - x\|_2 / \|x\|_2`, dimensionless. An input that is zero has 0 if it is reproduced
    exactly and infinity if not: measure blank images by ``"mse"``.

    ``"mse"``: mean over the coordinates of :math:`(f(x) - x)^2`, in squared units of the data; its mean over images is
    what the paper prints with Figure 11.

    A small error is neither memorization nor its absence: the identity has none. An error of 1e-8 is not yet a fixed
    point: see :func:`memzoo.dynamics.certify`.

    Args:
        outputs: f(x), row by row.
        inputs: x.
        kind: Which of the two.

    Returns:
        Float64; NaN for an output that is not finite.

    Raises:
        TypeError: Images as integers.
        ValueError: Outputs and inputs of different shapes; an unknown ``kind``.

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
    return torch.where(error == 0, 0.0, error / x.norm(dim=1))


def _check_kind(kind: str) -> None:
    if kind not in ("relative", "mse"):
        raise InvalidArgumentError(f"kind must be 'relative' or 'mse', got {kind!r}.")


@final
class ReconstructionError(RowMean):
    """Mean of :func:`reconstruction_error` over batches and processes; NaN before the first row.

    Args:
        kind: ``"relative"`` or ``"mse"``.
        kwargs: Of :class:`torchmetrics.Metric`.

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
        self.add(reconstruction_error(outputs.detach(), inputs.detach(), kind=self.kind))
