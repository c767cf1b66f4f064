"""Find where a traced map is narrowest: a smallest set of values through which every path passes.

The largest flow from one value to another equals the smallest capacity that severs them (Ford and Fulkerson, Maximal
flow through a network, 1956). Values are vertices. A cut of vertices becomes a cut of edges when
each vertex is split into an edge whose capacity is the number of entries of the value.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import fx, nn

from memzoo._types import Map


@runtime_checkable
class HasCut(Protocol):
    """A module that names its narrowest layer by a method ``cut``, for networks that cannot be traced."""

    def cut(self) -> tuple[nn.Module, nn.Module] | None:
        """Return ``(h, g)`` with ``f(x) = g(h(x))`` and ``h(x)`` smaller than ``x``, or None if no layer is narrower.

        Every path from input to output must pass through ``h(x)``; skip connections count.
        """
        ...


def read_declared_cut(f: Map) -> tuple[nn.Module, nn.Module] | None:
    """Return the halves that a module's method ``cut`` names, None if it has no such method."""
    return f.cut() if isinstance(f, HasCut) and inspect.ismethod(f.cut) else None


@dataclass(frozen=True)
class MinimumCut:
    r"""Split a map into up to four parts: x -> entry -> cut -> exit -> f(x), of which the first and last are affine.

    By the chain rule the Jacobian is :math:`J = S\,A(x)\,B(x)\,P`, with S and P the same at every point.
    """

    entry: fx.Node
    """The narrowest single value that is affine in x and through which every path passes; the input itself if no such
    value is narrower."""
    nodes: tuple[fx.Node, ...]
    """The values of smallest total size that sever the entry from the exit."""
    exit: fx.Node
    """The narrowest single value that alone determines f(x), by an affine function."""
    size: int
    """Number of entries of the values in the cut."""
    affine: bool
    """The whole map is affine, so one Jacobian holds at all points."""


def find_minimum_cut(nodes: Sequence[fx.Node], sizes: Mapping[fx.Node, int], linear: set[fx.Node]) -> MinimumCut:
    """Find the narrowest places of a traced map.

    Args:
        nodes: Values on a path from the input to the output, in order of execution.
        sizes: Number of entries of each value that is a floating-point tensor.
        linear: Values that are affine functions of the values that they are computed from.
    """
    source = nodes[0]
    target = nodes[-1]
    separators = [node for node in _find_separators(nodes) if node in sizes]
    affine_in_x = find_affine_values(nodes, linear, source)
    entry = min((node for node in separators if node in affine_in_x), key=sizes.__getitem__)
    exits = [node for node in separators if target in find_affine_values(nodes, linear, node)]
    if entry in exits:  # the exit does not lie before the entry
        exits = exits[exits.index(entry) :]
    exit_ = min(reversed(exits), key=sizes.__getitem__)

    cut = _find_vertex_cut(nodes, sizes, entry, exit_)
    size = sum(sizes[node] for node in cut)
    # An end that is as narrow as the cut serves as the cut: nothing needs to be computed between the two.
    cut = next(((end,) for end in (entry, exit_) if sizes[end] == size), cut)
    return MinimumCut(entry, cut, exit_, size, target in affine_in_x)


def find_affine_values(nodes: Sequence[fx.Node], linear: set[fx.Node], source: fx.Node) -> set[fx.Node]:
    """Find the values that are affine functions of the value of ``source`` and depend on nothing else in ``nodes``."""
    known = set(nodes)
    affine = {source}
    for node in nodes:
        if node in linear and affine.issuperset(known.intersection(node.all_input_nodes)):
            affine.add(node)
    return affine


def _find_separators(nodes: Sequence[fx.Node]) -> list[fx.Node]:
    """Find the single values through which every path passes, in order of execution."""
    position = {node: i for i, node in enumerate(nodes)}
    separators: list[fx.Node] = []
    last_use = -1  # of all earlier values
    for i, node in enumerate(nodes):
        if last_use <= i:  # no earlier value is used after this one
            separators.append(node)
        uses = [position[user] for user in node.users if user in position]
        last_use = max(last_use, max(uses, default=len(position)))
    return separators


def _find_vertex_cut(
    nodes: Sequence[fx.Node], sizes: Mapping[fx.Node, int], start: fx.Node, end: fx.Node
) -> tuple[fx.Node, ...]:
    """Find the values of smallest total size that sever ``start`` from ``end``."""
    import networkx

    if start is end:
        return (start,)
    flow: networkx.DiGraph[tuple[fx.Node, str]] = networkx.DiGraph()
    known = set(nodes)
    for node in nodes:
        capacity = {"capacity": sizes[node]} if node in sizes else {}  # networkx: without a capacity, unlimited
        flow.add_edge((node, "in"), (node, "out"), **capacity)
        flow.add_edges_from(((before, "out"), (node, "in")) for before in node.all_input_nodes if before in known)
    # A value is cut if its own edge leads from the side of the start to that of the end.
    _, (near, _) = networkx.minimum_cut(flow, (start, "in"), (end, "out"))
    return tuple(node for node in nodes if (node, "in") in near and (node, "out") not in near)
