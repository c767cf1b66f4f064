"""What each process of a distributed run measures, and how all of it comes together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from memzoo.errors import NonFiniteError


@dataclass(frozen=True)
class Part:
    """One process of several, counted from 0; its part of any list is every so-manieth entry."""

    index: int = 0
    of: int = 1

    def rows(self, count: int) -> Tensor:
        """Its share of ``count`` rows."""
        return torch.arange(count)[self.index :: self.of]

    def order(self, count: int) -> Tensor:
        """Puts rows that were joined part after part back into their order."""
        return torch.cat([Part(i, self.of).rows(count) for i in range(self.of)]).argsort()


def part_of(trainer: Trainer) -> Part:
    """The part of this process; where processes cannot talk by torch.distributed, rank 0 measures all."""
    if trainer.world_size > 1 and torch.distributed.is_available() and torch.distributed.is_initialized():
        return Part(trainer.global_rank, trainer.world_size)
    return Part()


def together(trainer: Trainer, part: Part, work: Callable[[], Any]) -> list[Any]:
    """The results of ``work`` in all processes, the same list everywhere.

    Raises:
        NonFiniteError: In every process, where it was raised in any.
        RuntimeError: In every process, after any other error in one of several: nobody waits for another.
    """
    own: Any = None
    if part.of > 1 or trainer.is_global_zero:
        try:
            own = work()
        except Exception as error:
            if trainer.world_size == 1:
                raise
            told = f"{type(error).__name__} in process {trainer.global_rank}: {error}"
            own = NonFiniteError(str(error)) if isinstance(error, NonFiniteError) else RuntimeError(told)
    if part.of == 1:
        found = [own] if trainer.world_size == 1 else [trainer.strategy.broadcast(own)]
    else:
        found = [None] * part.of
        torch.distributed.all_gather_object(found, own)
    failed = next((result for result in found if isinstance(result, Exception)), None)
    if failed is not None:
        raise failed
    return found
