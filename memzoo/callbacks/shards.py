"""Share the work of a measurement out among the processes of a run, and gather what they found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from memzoo.errors import NonFiniteError
from memzoo.runs import Run


@dataclass(frozen=True)
class Part:
    """One process of ``of``, counted from 0; its share of any list is every ``of``-th entry."""

    index: int = 0
    of: int = 1

    def select(self, rows: Tensor) -> Tensor:
        """Return the rows of this process."""
        return rows[self.index :: self.of]

    def restore_order(self, count: int) -> Tensor:
        """Return the indices that put ``count`` rows, joined one part after another, back into their order."""
        return self.joined_order(count).argsort()

    def joined_order(self, count: int) -> Tensor:
        """Return which of ``count`` rows comes where, when the parts are joined one after another."""
        rows = torch.arange(count)
        return torch.cat([Part(index, self.of).select(rows) for index in range(self.of)])


def find_part(run: Run) -> Part:
    """Return the part of this process; if torch.distributed does not connect the processes, rank 0 measures all."""
    if run.world_size > 1 and torch.distributed.is_available() and torch.distributed.is_initialized():
        return Part(run.global_rank, run.world_size)
    return Part()


def gather_objects(own: Any) -> list[Any]:
    """Return the objects of all processes that torch.distributed connects, the same list in each of them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [own]
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, own)
    return found


def gather_parts(run: Run, part: Part, work: Callable[[], Any]) -> list[Any]:
    """Return the results of ``work`` in all processes, the same list in each of them.

    Raises:
        NonFiniteError: One process raised it; it is then raised in every process.
        RuntimeError: One of several processes raised another error. It is raised in every process, so that no process
            waits forever.
    """
    # Without torch.distributed rank 0 works alone, and the others wait for its result.
    own: Any = None
    if part.of > 1 or run.is_global_zero:
        own = _try(run, work)
    if part.of > 1:
        found = gather_objects(own)
    elif run.world_size > 1:
        found = [run.strategy.broadcast(own)]
    else:
        found = [own]
    for result in found:
        if isinstance(result, Exception):
            raise result
    return found


def _try(run: Run, work: Callable[[], Any]) -> Any:
    """Return the result of ``work``, or in one of several processes the error, to be raised in all of them."""
    try:
        return work()
    except BaseException as error:
        if run.world_size == 1 or isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        if isinstance(error, NonFiniteError):
            return NonFiniteError(str(error))
        return RuntimeError(f"{type(error).__name__} in process {run.global_rank}: {error}")
