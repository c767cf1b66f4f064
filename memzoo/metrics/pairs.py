"""Check that outputs and inputs belong together row by row."""

from torch import Tensor

from memzoo.errors import InvalidArgumentError, InvalidTypeError


def check_pairs(outputs: Tensor, inputs: Tensor, names: str, shape: tuple[int, ...] | None = None) -> None:
    """Raise an error unless both are floating-point batches of one shape, with rows of ``shape`` where it is given."""
    for x in (outputs, inputs):
        if not x.is_floating_point():
            raise InvalidTypeError(
                f"{names} must be floating point, got {x.dtype}; images as integers want `.float() / 255`."
            )
    if outputs.shape != inputs.shape or outputs.ndim < 2:
        raise InvalidArgumentError(
            f"{names} must be batches (B, *shape) of one shape, row by row, got {tuple(outputs.shape)} and "
            f"{tuple(inputs.shape)}; pass the outputs of these very inputs."
        )
    if shape is not None and inputs.shape[1:] != shape:
        raise InvalidArgumentError(
            f"{names} must have rows of shape {shape}, as the metric was built for, got {tuple(inputs.shape)}; build "
            "it with shape=inputs.shape[1:]."
        )
