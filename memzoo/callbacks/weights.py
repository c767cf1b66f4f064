"""Which weights of a run are measured: the averaged ones where a callback averages, the same in all processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn

from memzoo.callbacks.shards import Part
from memzoo.errors import InvalidArgumentError


def refuse_sharded(trainer: Trainer, observer: Callback) -> None:
    """A map whose parameters are spread over processes cannot be evaluated by one of them alone.

    Raises:
        ValueError: The strategy shards parameters.
    """
    strategy = trainer.strategy
    sharded = isinstance(strategy, (FSDPStrategy, ModelParallelStrategy))
    if sharded or (isinstance(strategy, DeepSpeedStrategy) and strategy.zero_stage_3):
        raise InvalidArgumentError(
            f"{type(observer).__name__} needs whole parameters in each process, but {type(strategy).__name__} shards "
            "them; train with strategy='ddp', or without this callback, and measure the checkpoint with memzoo.audit."
        )


def averager(trainer: Trainer) -> WeightAveraging | None:
    """The callback that averages weights, also as an exponential moving average, if there is one."""
    return next((callback for callback in _callbacks(trainer) if isinstance(callback, WeightAveraging)), None)


def stand_behind_averaging(trainer: Trainer, observer: Callback) -> None:
    """Have the callbacks that put other weights in place act first at each moment.

    An average then holds the step that is measured; weights that a rule puts back at the end are those that are
    measured and saved.
    """
    others = [callback for callback in _callbacks(trainer) if callback is not observer]
    place = max((i + 1 for i, callback in enumerate(others) if _goes_before(callback, observer)), default=0)
    if _callbacks(trainer).index(observer) < place:
        reordered = [*others[:place], observer, *others[place:]]
        trainer.callbacks = reordered  # pyright: ignore[reportAttributeAccessIssue]


def _goes_before(callback: Callback, observer: Callback) -> bool:
    if isinstance(callback, (WeightAveraging, StochasticWeightAveraging)):
        return True
    return getattr(callback, "puts_weights_back", False) and not getattr(observer, "puts_weights_back", False)


@contextmanager
def delivered_weights(trainer: Trainer, module: LightningModule, *, ended: bool = False) -> Iterator[None]:
    """Put the averaged weights in place, those that the run validates and ends with; then put back what was there.

    Args:
        trainer: Its callbacks are searched for a ``WeightAveraging``; without one nothing is done.
        module: The module in training.
        ended: What is in place is what the run ends with; nothing is done either.
    """
    averaging = averager(trainer)
    if averaging is None or ended:
        yield
        return
    own = module.state_dict()
    checkpoint: dict[str, Any] = {"state_dict": own}
    averaging.on_save_checkpoint(trainer, module, checkpoint)  # puts the average in this place
    with _in_place(checkpoint["state_dict"], own):
        yield


@contextmanager
def common_buffers(trainer: Trainer, module: nn.Module, part: Part) -> Iterator[None]:
    """Buffers of rank 0 in all processes, those that the run saves: each has running statistics of its own batches."""
    own = dict(module.named_buffers())
    if part.of == 1 or not own:
        yield
        return
    with _in_place(trainer.strategy.broadcast({name: buffer.cpu() for name, buffer in own.items()}), own):
        yield


def fingerprint(module: nn.Module) -> Tensor:
    """Two sums over each parameter and buffer: the same module with other weights has others."""
    tensors = [t.detach() for t in (*module.parameters(), *module.buffers()) if t.is_floating_point() and t.numel()]
    sums = [s.cpu() for t in tensors for s in (t.sum(dtype=torch.float32), torch.linalg.vector_norm(t.float()))]
    return torch.stack(sums).nan_to_num() if sums else torch.empty(0)


@contextmanager
def _in_place(source: dict[str, Any], target: dict[str, Any]) -> Iterator[None]:
    kept = {name: value.clone() for name, value in target.items() if isinstance(value, Tensor)}
    _copy(source, target)
    try:
        yield
    finally:
        _copy(kept, target)


@torch.no_grad()
def _copy(source: dict[str, Any], target: dict[str, Any]) -> None:
    for name, value in source.items():
        if isinstance(target.get(name), Tensor):
            target[name].copy_(value)


def _callbacks(trainer: Trainer) -> list[Callback]:
    return trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
