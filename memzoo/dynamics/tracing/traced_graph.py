"""Trace a map: record the tensor operations that it executes, so that parts of the map can be executed alone."""

import math
import operator
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from memzoo._attempt import Attempt
from memzoo._types import Map
from memzoo.dynamics.tracing.attributes import Copies, isolate_attributes, list_holders
from memzoo.dynamics.tracing.convolution import aten, convolve_upsampled, move_channels_last, replace_convolutions
from memzoo.dynamics.tracing.minimum_cut import MinimumCut, find_minimum_cut
from memzoo.errors import NotDifferentiableError


def _find_operations(names: str) -> set[Any]:
    """Find operations of torch by their names."""
    return {getattr(aten, name) for name in names.split()}


# Linear in all their tensor arguments together.
REARRANGEMENTS: set[Any] = _find_operations(
    "view _unsafe_view reshape permute transpose t expand clone squeeze unsqueeze slice select split split_with_sizes "
    "unbind cat stack flip roll alias detach lift_fresh_copy unfold index_select pixel_shuffle pixel_unshuffle im2col "
    "_to_copy"
)
REARRANGEMENTS |= {operator.getitem, move_channels_last}
SUMS = _find_operations("add sub rsub neg sum mean")
PADDINGS = _find_operations("constant_pad_nd reflection_pad1d reflection_pad2d replication_pad2d")
RESAMPLINGS = _find_operations(
    "avg_pool1d avg_pool2d avg_pool3d _adaptive_avg_pool2d upsample_nearest1d upsample_nearest2d upsample_nearest3d "
    "upsample_bilinear2d upsample_bicubic2d upsample_linear1d"
)
LINEAR = REARRANGEMENTS | SUMS | PADDINGS | RESAMPLINGS
# Linear in the argument at one of these places, if all other arguments are constants.
LINEAR_IN: dict[Any, tuple[int, ...]] = {
    aten.mm: (0, 1),
    aten.bmm: (0, 1),
    aten.mv: (0, 1),
    aten.dot: (0, 1),
    aten.addmm: (0, 1, 2),
    aten.baddbmm: (0, 1, 2),
    aten.mul: (0, 1),
    aten.div: (0,),
    aten.convolution: (0,),
    aten.index: (0,),
    aten._unsafe_index: (0,),  # older versions of torch express upsampling by nearest neighbours in this way
    aten._native_batch_norm_legit_no_training: (0,),
    aten.native_batch_norm: (0,),
    aten.cudnn_batch_norm: (0,),
    convolve_upsampled: (0,),
}


class TracedGraph:
    """The operations of a map as it was executed at one row; ``extract`` gives any part of them as a function.

    Every intermediate value that depends on the input is a node. Constants are the module's parameters and buffers,
    which every extraction receives anew by name, and any other tensors that the trace met.
    """

    def __init__(self, module: fx.GraphModule, constant_names: Sequence[str]) -> None:
        self.module: fx.GraphModule = module
        self.constant_names: list[str] = list(constant_names)
        placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
        self.constants: list[fx.Node] = placeholders[:-1]
        self.source: fx.Node = placeholders[-1]
        output = next(node for node in module.graph.nodes if node.op == "output")
        (self.target,) = output.all_input_nodes
        self.nodes: list[fx.Node] = _find_nodes_between(module.graph, self.source, self.target)
        """Values on a path from the input to the output, in order of execution."""
        values = {node: node.meta.get("val") for node in self.nodes}
        floats = {node: v for node, v in values.items() if isinstance(v, Tensor) and v.is_floating_point()}
        self.sizes: dict[fx.Node, int] = {node: value.numel() for node, value in floats.items()}
        """Number of entries of each value that is a floating-point tensor, at one row."""
        if self.nodes[-1] not in self.sizes:
            raise NotDifferentiableError("the output of a traced map must be a tensor of floating-point numbers.")
        self.widest: int = max(self.sizes.values())
        """Number of entries of the largest value."""
        self.eps: float = max(torch.finfo(value.dtype).eps for value in floats.values())
        """Rounding unit of the narrowest arithmetic on the way."""
        self._parts: dict[tuple[tuple[fx.Node, ...], tuple[fx.Node, ...]], fx.GraphModule] = {}

    @cached_property
    def cut(self) -> MinimumCut:
        """Return the narrowest places of the map; found at first use."""
        return find_minimum_cut(self.nodes, self.sizes, self.linear)

    @property
    def linear(self) -> set[fx.Node]:
        """Return the values that are affine functions of the values that they are computed from."""
        known = set(self.nodes)
        return {node for node in self.nodes if _is_linear(node, known.intersection(node.all_input_nodes))}

    def extract(
        self, constants: dict[str, Tensor], sources: Sequence[fx.Node], targets: Sequence[fx.Node]
    ) -> Callable[..., tuple[Tensor, ...]]:
        """Extract the function from the values of ``sources`` to those of ``targets``, each at one row."""
        part = self.extract_module(sources, targets)
        return partial(part, *(constants[name] for name in self.constant_names))

    def extract_module(self, sources: Sequence[fx.Node], targets: Sequence[fx.Node]) -> fx.GraphModule:
        """Extract the operations between ``sources`` and ``targets``; its first inputs are the constants."""
        key = (tuple(sources), tuple(targets))
        if key not in self._parts:
            self._parts[key] = self._copy_part(*key)
        return self._parts[key]

    def extract_flat(self, constants: dict[str, Tensor], sources: Sequence[fx.Node], targets: Sequence[fx.Node]) -> Map:
        """Extract the same function from one vector to one vector, in which the values lie one after another."""
        function = self.extract(constants, sources, targets)
        shapes: list[torch.Size] = [node.meta["val"].shape for node in sources]
        sizes = [math.prod(shape) for shape in shapes]

        def flat_function(row: Tensor) -> Tensor:
            parts = zip(row.split(sizes), shapes, strict=True)
            values = function(*(part.reshape(shape) for part, shape in parts))
            return torch.cat([value.reshape(-1) for value in values])

        return flat_function

    def _copy_part(self, sources: tuple[fx.Node, ...], targets: tuple[fx.Node, ...]) -> fx.GraphModule:
        """Copy the operations between ``sources`` and ``targets`` to a graph of their own."""
        graph = fx.Graph()
        copies = {node: graph.placeholder(f"constant_{i}") for i, node in enumerate(self.constants)}
        copies |= {node: graph.placeholder(f"input_{i}") for i, node in enumerate(sources)}
        needed = _find_ancestors(targets, set(sources))
        for node in self.module.graph.nodes:
            if node in needed and node not in copies and node.op in ("call_function", "get_attr"):
                copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(tuple(copies[target] for target in targets))
        return fx.GraphModule(self.module, graph)


def _replace_copies(graph: fx.Graph) -> None:
    """Replace copies into a tensor, which writes in place leave behind, by what they copy: they have no derivative."""
    for node in list(graph.nodes):
        if node.target is not aten.copy.default:
            continue
        source = node.args[1]
        before = source.meta["val"]
        after = node.meta["val"]
        value = source
        with graph.inserting_before(node):
            if before.dtype != after.dtype or before.device != after.device:
                placed = {"dtype": after.dtype, "device": after.device}
                value = graph.call_function(aten._to_copy.default, (value,), placed)
                value.meta["val"] = before.to(**placed)
            if before.shape != after.shape:
                value = graph.call_function(aten.expand.default, (value, list(after.shape)))
                value.meta["val"] = after
        node.replace_all_uses_with(value)
        graph.erase_node(node)


def _find_nodes_between(graph: fx.Graph, source: fx.Node, target: fx.Node) -> list[fx.Node]:
    """Find the values that depend on ``source`` and that ``target`` depends on, in order of execution."""
    dependent = {source}
    for node in graph.nodes:
        if node.op == "call_function" and dependent.intersection(node.all_input_nodes):
            dependent.add(node)
    used = _find_ancestors([target], set())
    return [node for node in graph.nodes if node in dependent and node in used]


def _find_ancestors(nodes: Sequence[fx.Node], stop: set[fx.Node]) -> set[fx.Node]:
    """Find ``nodes`` and all nodes that they are computed from; the inputs of a node in ``stop`` are not followed."""
    found: set[fx.Node] = set()
    stack = list(nodes)
    while stack:
        current = stack.pop()
        if current not in found:
            found.add(current)
            if current not in stop:
                stack += current.all_input_nodes
    return found


def strip_overload(operation: Any) -> Any:
    """Return an operation of torch whatever the types of its arguments; any other is returned unchanged."""
    return operation.overloadpacket if isinstance(operation, torch._ops.OpOverload) else operation


def _is_linear(node: fx.Node, inputs: set[fx.Node]) -> bool:
    """Tell whether an operation is an affine function of ``inputs``, its arguments that depend on the map's input."""
    if "rounding_mode" in node.kwargs or not _is_floating_point(node):
        return False
    operation = strip_overload(node.target)
    return operation in LINEAR or _is_linear_in_one_place(operation, node, inputs)


def _is_linear_in_one_place(operation: Any, node: fx.Node, inputs: set[fx.Node]) -> bool:
    """Tell whether ``inputs`` take one place, in which the operation is affine if all other arguments are constants."""
    if operation not in LINEAR_IN or any(i in node.kwargs.values() for i in inputs):
        return False
    if operation in (aten.native_batch_norm, aten.cudnn_batch_norm) and node.args[5]:
        return False  # instance norm: the statistics are those of the input itself
    places = {place for place, value in enumerate(node.args) if isinstance(value, fx.Node) and value in inputs}
    if operation in (aten.addmm, aten.baddbmm):
        places.discard(0)  # the summand is added to the product, so it may depend on x as well
    return len(places) <= 1 and places.issubset(LINEAR_IN[operation])


def _is_floating_point(node: fx.Node) -> bool:
    """Tell whether all tensors of a value hold floating-point numbers."""
    value = node.meta.get("val")
    parts: Sequence[object] = value if isinstance(value, (tuple, list)) else (value,)
    return all(part.is_floating_point() for part in parts if isinstance(part, Tensor))


_TraceKey = tuple[torch.Size, torch.dtype, torch.device, tuple[tuple[str, torch.Size], ...]]
_TRACES: weakref.WeakKeyDictionary[nn.Module, dict[_TraceKey, TracedGraph]] = weakref.WeakKeyDictionary()


def trace_map(f: Map, row: Tensor, constants: dict[str, Tensor], *, ignore_cache: bool = False) -> TracedGraph | None:
    r"""Record the operations of ``f`` at one row (1, \*shape); return None if that is not possible.

    What the trace takes for granted (the branch taken at an ``if``, tensors that are no parameters) holds at this row.
    Every user of the graph must therefore compare it with ``f`` where it is executed. A module is traced once for each
    shape of input and each set of parameter shapes, unless ``ignore_cache``.
    """
    key = (row.shape, row.dtype, row.device, tuple((name, value.shape) for name, value in constants.items()))
    if isinstance(f, nn.Module) and not ignore_cache and (known := _TRACES.get(f, {}).get(key)):
        return known

    def call(values: list[Tensor], x: Tensor) -> Tensor:
        if not isinstance(f, nn.Module):
            return f(x)
        return functional_call(f, dict(zip(constants, values, strict=True)), (x,), tie_weights=False)

    holders = list_holders(f) if isinstance(f, nn.Module) else []
    values = [value.clone() for value in constants.values()]  # a forward may change its buffers in place
    graph = None
    with Attempt(Exception):  # a stranger's code may raise anything under tracing; there are ways without a trace
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), isolate_attributes(holders, Copies(row.dtype)):
            module = make_fx(functionalize(call))(values, row)
        _replace_copies(module.graph)
        replace_convolutions(module.graph)
        graph = TracedGraph(module, list(constants))
    if isinstance(f, nn.Module) and graph is not None:
        _TRACES.setdefault(f, {})[key] = graph
    return graph
