"""A map written down as a straight line of tensor operations, so that it can be taken apart."""

import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from memzoo._types import Map
from memzoo.dynamics.tracing.convolution import channels_last, rearranged, upsampled_convolution

aten: Any = torch.ops.aten  # its members are made when they are asked for

# Linear in all their tensor arguments together.
LINEAR: set[Any] = {
    *(aten.view, aten._unsafe_view, aten.reshape, aten.permute, aten.transpose, aten.t, aten.expand, aten.clone),
    *(aten.squeeze, aten.unsqueeze, aten.slice, aten.select, aten.split, aten.split_with_sizes, aten.unbind),
    *(aten.cat, aten.stack, aten.flip, aten.roll, aten.alias, aten.detach, aten.lift_fresh_copy, aten.unfold),
    *(aten.add, aten.sub, aten.rsub, aten.neg, aten.sum, aten.mean, aten.pixel_shuffle, aten.pixel_unshuffle),
    *(aten.constant_pad_nd, aten.reflection_pad1d, aten.reflection_pad2d, aten.replication_pad2d, aten.im2col),
    *(aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d, aten._adaptive_avg_pool2d, aten.index_select),
    *(aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d, aten.upsample_bilinear2d),
    *(aten.upsample_bicubic2d, aten.upsample_linear1d, aten._to_copy, operator.getitem, channels_last),
}
# Linear in the argument at this place alone, the others being constants.
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
    aten._unsafe_index: (0,),  # what older versions of torch make of enlarging by nearest neighbours
    aten._native_batch_norm_legit_no_training: (0,),
    aten.native_batch_norm: (0,),
    aten.cudnn_batch_norm: (0,),
    upsampled_convolution: (0,),
}


class Program:
    """The operations of a map, as it was executed on one row; ``run`` executes any part of them again.

    Every intermediate value that depends on the input is a node. Constants are the module's parameters and buffers by
    name, handed in anew at each run, and whatever else was met while tracing.
    """

    module: fx.GraphModule
    names: list[str]
    constants: list[fx.Node]
    source: fx.Node
    target: fx.Node

    def __init__(self, module: fx.GraphModule, names: Sequence[str]) -> None:
        self.module, self.names = module, list(names)
        placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
        self.constants, self.source = placeholders[:-1], placeholders[-1]
        output = next(node for node in module.graph.nodes if node.op == "output")
        (self.target,) = output.all_input_nodes
        depends = {self.source}
        for node in module.graph.nodes:
            if node.op == "call_function" and depends.intersection(node.all_input_nodes):
                depends.add(node)
        used = _ancestors(self.target)
        self.nodes: list[fx.Node] = [node for node in module.graph.nodes if node in depends and node in used]
        """Values on a way from the input to the output, in order of execution."""
        self.widest: int = max(self.size(node) or 0 for node in self.nodes)
        """Numbers in the largest value."""
        self._dependent = set(self.nodes)
        dtypes = [node.meta["val"].dtype for node in self.nodes if self.size(node) is not None]
        self.eps: float = max(torch.finfo(dtype).eps for dtype in dtypes)
        """Rounding of the narrowest arithmetic on the way."""
        self.anatomy: Any = None  # remembered by memzoo.dynamics.tracing.minimum_cut.anatomy
        self._parts: dict[tuple[tuple[fx.Node, ...], tuple[fx.Node, ...]], fx.GraphModule] = {}

    def size(self, node: fx.Node) -> int | None:
        """Numbers in the value of a node, None where it is no tensor of floating-point numbers."""
        value = node.meta.get("val")
        return value.numel() if isinstance(value, Tensor) and value.is_floating_point() else None

    def shape(self, node: fx.Node) -> torch.Size:
        """Shape of the value at one row."""
        return node.meta["val"].shape

    def affine(self, sources: set[fx.Node]) -> set[fx.Node]:
        """The values that are affine functions of ``sources`` together."""
        known, found = set(sources), set(sources)
        for node in self.nodes:
            inputs = [i for i in node.all_input_nodes if i in known or i in self._dependent]
            if node in known or not any(i in known for i in inputs):
                continue
            known.add(node)
            if all(i in found for i in inputs) and _is_linear(node, inputs):
                found.add(node)
        return found

    def run(
        self, constants: dict[str, Tensor], sources: Sequence[fx.Node], targets: Sequence[fx.Node]
    ) -> Callable[..., tuple[Tensor, ...]]:
        """The function from the values of ``sources`` to those of ``targets``, each at one row."""
        key = (tuple(sources), tuple(targets))
        if key not in self._parts:
            self._parts[key] = self._part(*key)
        part, values = self._parts[key], [constants[name] for name in self.names]
        return lambda *inputs: part(*values, *inputs)

    def _part(self, sources: tuple[fx.Node, ...], targets: tuple[fx.Node, ...]) -> fx.GraphModule:
        graph = fx.Graph()
        copies = {node: graph.placeholder(f"constant_{i}") for i, node in enumerate(self.constants)}
        copies |= {node: graph.placeholder(f"input_{i}") for i, node in enumerate(sources)}
        needed = set().union(*(_ancestors(target, set(sources)) for target in targets))
        for node in self.module.graph.nodes:
            if node in needed and node not in copies and node.op in ("call_function", "get_attr"):
                copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(tuple(copies[target] for target in targets))
        return fx.GraphModule(self.module, graph)


def _ancestors(node: fx.Node, stop: set[fx.Node] = frozenset()) -> set[fx.Node]:  # pyright: ignore[reportArgumentType]
    found, stack = set(), [node]
    while stack:
        current = stack.pop()
        if current not in found:
            found.add(current)
            if current not in stop:
                stack += current.all_input_nodes
    return found


def _is_linear(node: fx.Node, inputs: list[fx.Node]) -> bool:
    if "rounding_mode" in node.kwargs or not _floating(node):
        return False
    target = node.target
    operation = target.overloadpacket if isinstance(target, torch._ops.OpOverload) else target
    if operation in LINEAR:
        return True
    places = LINEAR_IN.get(operation)
    if places is None or any(i in node.kwargs.values() for i in inputs):
        return False
    if operation in (aten.native_batch_norm, aten.cudnn_batch_norm) and node.args[5]:
        return False  # statistics of the input itself: instance norm
    held = [place for place, argument in enumerate(node.args) if argument in inputs]
    if operation in (aten.addmm, aten.baddbmm) and 0 in held:
        held.remove(0)  # the summand comes on top of the product
    return len(held) <= 1 and set(held) <= set(places)


def _floating(node: fx.Node) -> bool:
    values = node.meta.get("val")
    values = values if isinstance(values, (tuple, list)) else (values,)
    return all(value.is_floating_point() for value in values if isinstance(value, Tensor))


_PROGRAMS: weakref.WeakKeyDictionary[nn.Module, dict[Any, Program]] = weakref.WeakKeyDictionary()


def traced(f: Map, row: Tensor, constants: dict[str, Tensor], *, afresh: bool = False) -> Program | None:
    r"""``f`` as a program, traced at one row (1, \*shape); None where it cannot be followed.

    What the trace took for granted (the way taken at an ``if``, tensors that are no parameters) holds at this row; a
    user of the program compares it with ``f`` wherever it is run. Modules are traced once for each shape of input
    and set of parameter shapes, unless ``afresh``.
    """
    key = (row.shape, row.dtype, row.device, tuple((name, value.shape) for name, value in constants.items()))
    if isinstance(f, nn.Module) and not afresh and (known := _PROGRAMS.get(f, {}).get(key)):
        return known

    def call(values: list[Tensor], x: Tensor) -> Tensor:
        if not isinstance(f, nn.Module):
            return f(x)
        return functional_call(f, dict(zip(constants, values, strict=True)), (x,), tie_weights=False)

    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            module = make_fx(functionalize(call))(list(constants.values()), row)
        rearranged(module.graph)
        program = Program(module, list(constants))
    except Exception:  # whatever a stranger's code raises under tracing, there is another way to its Jacobian
        return None
    if isinstance(f, nn.Module):
        _PROGRAMS.setdefault(f, {})[key] = program
    return program
