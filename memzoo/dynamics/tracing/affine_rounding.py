"""Bound the rounding of the affine last layers of a traced map, whatever value they are applied to.

A computed sum of n products differs from the exact one by at most n units of rounding times the sum of the absolute
products (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). The absolute products come from the same
operations, executed on absolute values.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx
from torch.func import vmap

from memzoo._attempt import is_out_of_memory
from memzoo.dynamics.tracing.convolution import aten, convolve_upsampled
from memzoo.dynamics.tracing.traced_graph import REARRANGEMENTS, TracedGraph, strip_overload

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
    """What the rounding of the map z -> A z + b depends on; float64. Columns of zeros are left out."""

    sizes: Float[Tensor, "dim k"]
    """Sums of absolute products |A|."""
    inverse: Float[Tensor, "k dim"]
    r"""Pseudo-inverse of A: an exact image p is that of :math:`z = A^+ (p - b)`, and of no other z."""
    constant: float
    """L2 norm of the absolute terms that do not depend on z."""
    operations: int
    """Most roundings that one term passes through."""
    unit: float
    """Distance from 1 to the next number of the narrowest type that is written into the map itself."""

    def bound(self, x: Float[Tensor, "m dim"], reach: Float[Tensor, " m"], unit: float) -> Float[Tensor, " m"]:
        r"""Bound the L2 distance e from a computed image to the exact one, for images computed within ``reach`` of x.

        The exact image is within reach + e of x, so each :math:`|z_j|` differs from that of x by at most this times the
        length of row j of :math:`A^+`. Hence :math:`e \le u (\||A|\,|z(x)|\| + s\,(reach + e) + c)`, solved for e.

        Args:
            x: Points less b.
            reach: L2 distances from them.
            unit: Distance from 1 to the next number of the arithmetic; a rounding errs by half of it at most.
        """
        # One fifth more for terms of second order.
        relative = 1.2 * self.operations * max(unit, self.unit) / 2
        spread = (self.sizes @ self.inverse.norm(dim=1)).norm().item()
        if not relative < 0.1 or not relative * spread < 0.5:
            return torch.full_like(reach, torch.inf)
        terms = ((x @ self.inverse.mT).abs() @ self.sizes.mT).norm(dim=1)
        return relative * (terms + spread * reach + self.constant) / (1 - relative * spread)


def bound_rounding_of_ending(graph: TracedGraph, constants: dict[str, Tensor], matrix: Tensor) -> AffineRounding | None:
    """Collect what bounds the rounding of the affine last layers.

    None if they hold an operation that is not known here, or if A is singular.

    Args:
        graph: Traced map.
        constants: Its parameters and buffers in float64.
        matrix: A, the matrix of the layers after the exit of the graph's cut.
    """
    start = graph.cut.exit
    absolute = {name: value.abs() if value.is_floating_point() else value for name, value in constants.items()}
    try:
        part = _AbsoluteInterpreter(graph.extract_module([start], [graph.target]))
        shape = start.meta["val"].shape
        weights = [absolute[name] for name in graph.constant_names]
        function = vmap(lambda row: part.run(*weights, row.reshape(shape))[0].flatten())
        constant = function(matrix.new_zeros(1, matrix.shape[1]))[0]
        sizes = (function(torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)) - constant).mT
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return None
    used = sizes.amax(0) > 0  # a unit without weights has no rounding
    basis, triangle = torch.linalg.qr(matrix[:, used])
    inverse, failed = torch.linalg.inv_ex(triangle)
    if failed or not inverse.isfinite().all():  # columns are linearly dependent: z may be as large as it likes
        return None
    return AffineRounding(
        sizes=sizes[:, used],
        inverse=inverse @ basis.mT,
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
        operation = strip_overload(target)
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
    arithmetic = [node for node in last if strip_overload(node.target) not in REARRANGEMENTS]
    terms = [sum(graph.sizes.get(source, 0) for source in node.all_input_nodes) for node in arithmetic]
    # The QR factorisation that measures distances from the subspace rounds, too.
    return sum(count + 2 for count in terms) + 10
