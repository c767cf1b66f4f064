"""Bound the rounding of the affine last layers of a traced map, whatever value they are applied to.

A computed sum of n products differs from the exact one by at most n units of rounding times the sum of the absolute
products (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). The absolute products come from the same
operations, executed on absolute values.
"""

import operator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx
from torch.func import vmap

from memzoo.dynamics.tracing.convolution import aten, convolve_upsampled
from memzoo.dynamics.tracing.traced_graph import REARRANGEMENTS, TracedGraph

# Sums and products with numbers of which none is negative after all have been replaced by their absolute values.
SUMS: dict[Any, Any] = {
    aten.add: operator.add,
    aten.sub: operator.add,
    aten.rsub: operator.add,
    aten.mul: operator.mul,
    aten.div: operator.truediv,
}
PRODUCTS: set[Any] = {aten.mm, aten.bmm, aten.mv, aten.dot, aten.convolution, convolve_upsampled, aten.sum, aten.mean}
PRODUCTS |= {aten.addmm, aten.baddbmm, aten.constant_pad_nd, aten.avg_pool2d, aten.upsample_nearest2d}
PRODUCTS |= {aten.upsample_bilinear2d}


@dataclass(frozen=True)
class AffineRounding:
    """What the rounding of the map z -> A z + b depends on; float64."""

    gain: float
    r"""Frobenius norm of :math:`|A|\,|R^{-1}|` with A = Q R: the sum of the absolute products is at most this times the
    length of A z. Infinity if columns of A are linearly dependent: z may then be as large as it likes."""
    constant: float
    """L2 norm of the absolute terms that do not depend on z."""
    operations: int
    """Most roundings that one term passes through."""
    unit: float
    """Unit of rounding of the narrowest type that is written into the map itself."""

    def bound(self, length: Float[Tensor, " m"], unit: float) -> Float[Tensor, " m"]:
        """Bound the L2 distance from a computed point to the exact one, for points whose computed A z has this length.

        Args:
            length: L2 length of A z plus the rounding itself, for exact points.
            unit: Unit of rounding of the arithmetic, 2 to the power -23 for float32 (twice the largest relative error).
        """
        relative = self.operations * max(unit, self.unit)
        # e <= relative (gain (length + e) + constant), solved for e.
        if not relative * self.gain < 0.5 or not relative < 0.1:
            return torch.full_like(length, torch.inf)
        error = 1.2 * relative * (self.gain * length + self.constant)
        return error / (1 - 1.2 * relative * self.gain)


def bound_rounding_of_ending(graph: TracedGraph, constants: dict[str, Tensor], matrix: Tensor) -> AffineRounding | None:
    """Collect what bounds the rounding of the affine last layers; None if they hold an operation not known here.

    Args:
        graph: Traced map.
        constants: Its parameters and buffers in float64.
        matrix: A, the matrix of the layers after the exit of the graph's cut.
    """
    start = graph.cut.exit
    absolute = {name: value.abs() if value.is_floating_point() else value for name, value in constants.items()}
    try:
        extracted = graph.extract(absolute, [start], [graph.target])
        assert isinstance(extracted, partial)
        part = _AbsoluteInterpreter(extracted.func)
        shape = start.meta["val"].shape
        weights = [absolute[name] for name in graph.constant_names]
        function = vmap(lambda row: part.run(*weights, row.reshape(shape))[0].flatten())
        constant = function(matrix.new_zeros(1, matrix.shape[1]))[0]
        sizes = (function(torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)) - constant).mT
    except (NotImplementedError, RuntimeError):
        return None
    used = sizes.amax(0) > 0  # a unit without weights has no rounding
    triangle = torch.linalg.qr(matrix[:, used]).R
    inverse, failed = torch.linalg.inv_ex(triangle)
    gain = torch.linalg.matrix_norm(sizes[:, used] @ inverse.abs()).item()
    return AffineRounding(
        gain=gain if not failed and gain < torch.inf else torch.inf,
        constant=constant.norm().item(),
        operations=_count_roundings(graph),
        unit=graph.eps,
    )


class _AbsoluteInterpreter(fx.Interpreter):
    """Execute affine operations on the absolute values of their constants; the input has to be positive."""

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        return value.abs() if isinstance(value, Tensor) else value

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        operation = target.overloadpacket if isinstance(target, torch._ops.OpOverload) else target
        if operation is aten.neg:
            return args[0]
        if operation in SUMS:
            left, right = (torch.as_tensor(value).abs() for value in args[:2])
            scale = abs(kwargs.get("alpha", args[2] if len(args) > 2 else 1))
            return SUMS[operation](left, right if operation in (aten.mul, aten.div) else scale * right)
        if operation in PRODUCTS:
            return super().call_function(target, args, {name: _make_positive(value) for name, value in kwargs.items()})
        if operation in REARRANGEMENTS:
            return super().call_function(target, args, kwargs)
        raise NotImplementedError(str(operation))


def _make_positive(value: Any) -> Any:
    """Return the absolute value of a number, such as the factor of a sum, and anything else as it is."""
    return abs(value) if isinstance(value, float) else value


def _count_roundings(graph: TracedGraph) -> int:
    """Count the roundings of one term on its way through all operations after the exit of the cut."""
    last = graph.nodes[graph.nodes.index(graph.cut.exit) + 1 :]
    arithmetic = [node for node in last if _find_packet(node) not in REARRANGEMENTS]
    terms = [sum(graph.sizes.get(source, 0) for source in node.all_input_nodes) for node in arithmetic]
    # The QR factorisation that measures distances from the subspace rounds, too.
    return sum(count + 2 for count in terms) + 10


def _find_packet(node: fx.Node) -> Any:
    """Return the operation of a node without its overload."""
    return node.target.overloadpacket if isinstance(node.target, torch._ops.OpOverload) else node.target
