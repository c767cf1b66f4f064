"""What a measurement reads of a run: a Trainer has all of it, and a loop without a Trainer can have it."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor
from torch.optim import Optimizer

Content = TypeVar("Content")


class Exchange(Protocol):
    """Exchange values between the processes of a run, as the strategy of a Trainer does."""

    def broadcast(self, obj: Content, src: int = 0) -> Content:
        """Return the object of process ``src`` in all processes."""
        ...

    def reduce(self, tensor: Tensor, group: Any = None, reduce_op: Any = "mean") -> Any:
        """Return the mean over all processes, which may be written into ``tensor``."""
        ...


class Run(Protocol):
    """Describe a run by the attributes of a Trainer that a measurement reads."""

    should_stop: bool

    @property
    def global_step(self) -> int:
        """Return how many optimizer steps were made."""
        ...

    @property
    def current_epoch(self) -> int | None:
        """Return the number of the epoch, counted from 0; None if nobody counts epochs."""
        ...

    @property
    def world_size(self) -> int:
        """Return the number of processes."""
        ...

    @property
    def global_rank(self) -> int:
        """Return the number of this process."""
        ...

    @property
    def is_global_zero(self) -> bool:
        """Tell whether this is the first process."""
        ...

    @property
    def strategy(self) -> Exchange:
        """Return what connects the processes."""
        ...

    @property
    def lightning_module(self) -> Any:
        """Return the module in training, of whatever class."""
        ...

    @property
    def optimizers(self) -> Sequence[Optimizer]:
        """Return the optimizers that the run knows."""
        ...

    @property
    def train_dataloader(self) -> Any:
        """Return the loader of the training batches, or several in a list or dict."""
        ...

    @property
    def enable_validation(self) -> bool:
        """Tell whether validations are to come, of which starts can be taken."""
        ...

    @property
    def evaluating(self) -> bool:
        """Tell whether the run validates or tests now."""
        ...
