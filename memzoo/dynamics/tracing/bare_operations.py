"""Trace a map down to its bare operations, so that nothing of it is hidden from automatic differentiation.

A program may switch off gradients for a part of a map, detach a value, or give a function a derivative of its own. A
trace holds none of this: it lists the tensor operations that were executed, each of which has its own derivative.
"""

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from memzoo._attempt import Attempt
from memzoo._types import Map
from memzoo.dynamics.tracing.traced_graph import TracedGraph, trace_map

aten = torch.ops.aten
DETACHMENTS = (aten.detach.default, aten.detach_.default)


def trace_bare_operations(f: Map, row: Tensor, constants: dict[str, Tensor]) -> TracedGraph | None:
    r"""Record the operations of ``f`` at one row (1, \*shape) without those that hide a value from autograd.

    What the trace takes for granted holds at this row: its user must compare it with ``f``. None if there is no trace.
    """
    graph = trace_map(f, row, constants) or _trace_as_executed(f, row, constants)
    return None if graph is None else _remove_detachments(graph)


def _trace_as_executed(f: Map, row: Tensor, constants: dict[str, Tensor]) -> TracedGraph | None:
    """Record the operations with those that work in place; functions with a derivative of their own need this."""

    def call(values: list[Tensor], x: Tensor) -> Tensor:
        if not isinstance(f, nn.Module):
            return f(x)
        return functional_call(f, dict(zip(constants, values, strict=True)), (x,), tie_weights=False)

    with Attempt(Exception), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # under tracing, code may raise anything
        module = make_fx(call)(list(constants.values()), row)
        return TracedGraph(module, list(constants))
    return None


def _remove_detachments(graph: TracedGraph) -> TracedGraph:
    """Copy a graph, and hand on the value itself wherever it was detached."""
    copied = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.module.graph.nodes:
        if node.target in DETACHMENTS:
            copies[node] = copies[node.all_input_nodes[0]]
        else:
            copies[node] = copied.node_copy(node, copies.__getitem__)
    return TracedGraph(fx.GraphModule(graph.module, copied), graph.constant_names)
