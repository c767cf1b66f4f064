"""A training loop without a Trainer, as a measurement sees it."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.optim import Optimizer

Content = TypeVar("Content")


class ConnectedProcesses:
    """Exchange values between the processes that torch.distributed connects, where there are any."""

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared

    @property
    def count(self) -> int:
        """Return the number of processes; 1 if each measures for itself."""
        if self._shared and torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_world_size()
        return 1

    @property
    def rank(self) -> int:
        """Return the number of this process."""
        return torch.distributed.get_rank() if self.count > 1 else 0

    def broadcast(self, obj: Content, src: int = 0) -> Content:
        """Return the object of process ``src`` in all processes."""
        if self.count == 1:
            return obj
        box = [obj]
        torch.distributed.broadcast_object_list(box, src=src)
        return box[0]

    def reduce(self, tensor: Tensor, group: Any = None, reduce_op: Any = "mean") -> Tensor:
        """Return the mean over all processes."""
        if self.count == 1:
            return tensor
        values: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(values, float(tensor))  # whatever device and backend there are
        return torch.tensor(values, dtype=torch.float64).mean()


class Loop:
    """Describe a loop by the attributes of a :class:`memzoo.runs.Run`.

    Args:
        module: Module in training.
        callbacks: Those that listen to measurements.
        optimizers: Optimizers whose weights for evaluation are measured, if they have any.
        shared: The processes that torch.distributed connects measure together.
    """

    current_epoch: None = None
    train_dataloader: None = None
    enable_validation: bool = False
    evaluating: bool = False

    def __init__(
        self, module: nn.Module, callbacks: Sequence[Callback], optimizers: Sequence[Optimizer], *, shared: bool
    ) -> None:
        self.lightning_module: nn.Module = module
        self.callbacks: list[Callback] = list(callbacks)
        self.optimizers: list[Optimizer] = list(optimizers)
        self.strategy: ConnectedProcesses = ConnectedProcesses(shared=shared)
        self.global_step: int = 0
        self.should_stop: bool = False

    @property
    def world_size(self) -> int:
        """Return the number of processes that measure together."""
        return self.strategy.count

    @property
    def global_rank(self) -> int:
        """Return the number of this process among them."""
        return self.strategy.rank

    @property
    def is_global_zero(self) -> bool:
        """Tell whether this is the first of them."""
        return self.global_rank == 0
