"""Where a map is narrowest: the values through which every way from its input to its output passes."""

import inspect
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import fx, nn

from memzoo._types import Map
from memzoo.dynamics.tracing.traced_graph import Program


@runtime_checkable
class HasCut(Protocol):
    """A module that knows its narrowest layer by a method ``cut``, for networks that cannot be traced."""

    def cut(self) -> tuple[nn.Module, nn.Module] | None:
        """``(h, g)`` with ``f(x) = g(h(x))`` and ``h(x)`` smaller than ``x``, or None where no layer is narrower.

        Every path from input to output must pass through ``h(x)``; skip connections count.
        """
        ...


def declared_cut(f: Map) -> tuple[nn.Module, nn.Module] | None:
    """What the module's method ``cut`` says, None without one."""
    return f.cut() if isinstance(f, HasCut) and inspect.ismethod(f.cut) else None


@dataclass(frozen=True)
class Anatomy:
    r"""A map in up to four stretches: x -> entry -> waist -> exit -> f(x), the first and the last affine.

    The Jacobian is then :math:`J = S\,A(x)\,B(x)\,P` with S and P the same at every point.
    """

    program: Program
    entry: fx.Node
    """The narrowest single value that is affine in x and through which everything passes; the input itself if none
    is narrower."""
    waist: tuple[fx.Node, ...]
    """The values of smallest total size that sever the entry from the exit."""
    exit: fx.Node
    """The narrowest single value on which f(x) depends in an affine way, and on nothing else."""
    affine: bool
    """The whole map is affine: one Jacobian for all points."""

    @property
    def size(self) -> int:
        """Numbers that cross the waist."""
        return sum(self.program.size(node) or 0 for node in self.waist)


def anatomy(program: Program) -> Anatomy:
    """Take ``program`` apart at its narrowest places, once."""
    if program.anatomy is not None:
        return program.anatomy
    source, target = program.source, program.target
    size = {node: program.size(node) for node in program.nodes}
    alone = [node for node in _severing(program) if size[node] is not None]
    from_source = program.affine({source})
    entry = min((node for node in alone if node in from_source), key=lambda node: size[node] or 0)
    leads = [node for node in alone if target in program.affine({node})]
    leads = leads[max((i for i, node in enumerate(leads) if node is entry), default=0) :]
    exit_ = min(reversed(leads), key=lambda node: size[node] or 0)
    waist = narrowest(program, entry, exit_)
    for end in (entry, exit_):
        if size[end] == sum(size[node] or 0 for node in waist):
            waist = (end,)
            break
    program.anatomy = Anatomy(program, entry, waist, exit_, target in from_source)
    return program.anatomy


def _severing(program: Program) -> list[fx.Node]:
    """Values through which every way passes, in order of execution: those that are alone when they are computed."""
    position = {node: i for i, node in enumerate(program.nodes)}
    last = {
        node: max((position[user] for user in node.users if user in position), default=len(position))
        for node in program.nodes
    }
    reach, found = -1, []
    for i, node in enumerate(program.nodes):
        if reach <= i:  # nothing computed earlier is used later
            found.append(node)
        reach = max(reach, last[node])
    return found


def narrowest(program: Program, start: fx.Node, end: fx.Node) -> tuple[fx.Node, ...]:
    """The values of smallest total size that sever ``start`` from ``end``: a minimum vertex cut, by maximum flow."""
    import networkx

    flow = networkx.DiGraph()
    known = set(program.nodes)
    for node in program.nodes:
        size = program.size(node)
        flow.add_edge((node, "in"), (node, "out"), **({} if size is None else {"capacity": size}))
        for before in node.all_input_nodes:
            if before in known:
                flow.add_edge((before, "out"), (node, "in"))  # without a capacity: unlimited
    if start is end:
        return (start,)
    _, (near, _) = networkx.minimum_cut(flow, (start, "in"), (end, "out"))
    crossed = {node for node in known if (node, "in") in near and (node, "out") not in near}
    return tuple(node for node in program.nodes if node in crossed)


def narrow_enough(size: int, dim: int) -> bool:
    """A cut pays where its eigensolve, cubic in ``size``, is bearable and smaller than the full one."""
    return size < dim and size <= 1024
