"""Recognise matrices that are triangular in some order of the coordinates: their eigenvalues stand on the diagonal.

The zeros of a Jacobian are exact where an output does not depend on an input: in causal and in autoregressive maps.
Rounding does not move them, so that the eigenvalues are as exact as the diagonal, however far from normal the matrix.
An entry may also be computed as zero because rounded numbers happen to cancel; that zero holds for no other rounding.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, fx

from memzoo._types import Map
from memzoo.dynamics.tracing import TracedGraph


def find_triangular(matrices: Float[Tensor, "batch n n"]) -> Bool[Tensor, " batch"]:
    """Tell which matrices are triangular up to the same permutation of rows and columns."""
    return torch.tensor([_is_triangular(matrix) for matrix in matrices], device=matrices.device)


def stretch_derivatives(graph: TracedGraph, constants: dict[str, Tensor]) -> Map:
    """Return a traced map of one flat row with another derivative: numbers that cancel in its Jacobian no longer do.

    The derivative of each intermediate value is multiplied by a random number of its own. Every path from an input to
    an output then has a product of its own, and a sum of paths is zero only if each of them is.
    """
    part = graph.extract_module([graph.source], [graph.target])
    weights = [constants[name] for name in graph.constant_names]
    shape = graph.source.meta["val"].shape

    def stretched(row: Tensor) -> Tensor:
        return _StretchingInterpreter(part).run(*weights, row.reshape(shape))[0].reshape(-1)

    return stretched


class _StretchingInterpreter(fx.Interpreter):
    """Execute a trace; the values are its own, their derivatives are not."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self._generator = torch.Generator().manual_seed(0)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().call_function(target, args, kwargs)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        factor = 0.5 + torch.rand(value.shape, generator=self._generator, dtype=torch.float64)
        return _Stretch.apply(value, factor.to(device=value.device, dtype=value.dtype))


class _Stretch(torch.autograd.Function):
    """Return a value; multiply its derivative by ``factor``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, factor: Tensor) -> Tensor:
        """Copy the value."""
        del factor
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep the factor."""
        del output
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Multiply by the factor."""
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None


def _is_triangular(matrix: Tensor) -> bool:
    """Sort the coordinates topologically (Kahn, Topological sorting of large networks, 1962)."""
    depends = (matrix != 0).cpu()
    depends.fill_diagonal_(False)
    open_ = depends.sum(1)
    free = (open_ == 0).nonzero().flatten()
    count = 0
    while len(free):
        count += len(free)
        open_ -= depends[:, free].sum(1)
        open_[free] = -1  # done; no later one lies among those that it depends on
        free = (open_ == 0).nonzero().flatten()
    return count == len(depends)
