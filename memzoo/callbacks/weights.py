"""Give the module the weights that are to be measured: averaged ones if a callback averages, equal in all processes."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from memzoo._generators import keep_generators_unchanged
from memzoo._module_state import MapState
from memzoo._twins import is_kind, twins
from memzoo.callbacks.shards import Part
from memzoo.errors import InvalidArgumentError
from memzoo.runs import Run, callbacks_of

WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Types of whole numbers by their bytes."""
SUMMED_AT_ONCE = 2**20
"""Entries of a tensor that are summed together, so that little memory is needed."""


class MeasuredWeights:
    """Give the module the weights that the run delivers, and tell whether they have changed since a measurement."""

    def __init__(self) -> None:
        self.run_has_ended: bool = False
        """Whether the module already has the weights that the run ends with."""
        self._measured_fingerprint: Tensor | None = None

    @contextmanager
    def put_in_place(self, run: Run, module: nn.Module) -> Generator[None, None, None]:
        """Give the module the weights that are to be measured now, and remember their fingerprint."""
        with use_delivered_weights(run, module, ended=self.run_has_ended):
            self._measured_fingerprint = compute_fingerprint(module)
            yield

    def are_unchanged(self, run: Run, module: nn.Module) -> bool:
        """Tell whether the weights are those of the last measurement, as far as this can be told; rank 0 decides."""
        try:
            # A resumed run has no fingerprint yet: its last measurement was of the weights that it resumed with.
            with use_delivered_weights(run, module, ended=self.run_has_ended):
                measured = self._measured_fingerprint
                # Of a map without parameters nobody can tell.
                same = measured is None or (len(measured) > 0 and torch.equal(measured, compute_fingerprint(module)))
        except Exception:  # of a hook of the module; the measurement itself has warned of it
            same = True
        return run.strategy.broadcast(same)


def refuse_sharded(trainer: Trainer, observer: Callback) -> None:
    """Refuse strategies that divide parameters among processes, because no process could evaluate the map alone.

    Raises:
        ValueError: The strategy shards parameters.
    """
    strategy = trainer.strategy
    # DeepSpeed shards parameters only in its stage 3; stages 1 and 2 shard gradients and the state of the optimizer.
    sharded = is_kind(strategy, FSDPStrategy, ModelParallelStrategy)
    if sharded or (is_kind(strategy, DeepSpeedStrategy) and strategy.zero_stage_3):
        raise InvalidArgumentError(
            f"{type(observer).__name__} needs whole parameters in each process, but {type(strategy).__name__} shards "
            "them; train with strategy='ddp', or without this callback, and measure the checkpoint with memzoo.audit."
        )


def find_averaging(run: Run) -> WeightAveraging | None:
    """Return the callback that averages weights, also as an exponential moving average, if there is one."""
    return next((callback for callback in callbacks_of(run) if is_kind(callback, WeightAveraging)), None)


def name_weights(run: Run) -> str:
    """Say which weights are measured: the current ones, or those that a callback or an optimizer averages."""
    averaging = find_averaging(run)
    source = [] if averaging is None else [averaging]
    source += [optimizer for optimizer in run.optimizers if _tell_mode(optimizer) is not None]
    return f"averaged ({type(source[0]).__name__})" if source else "current"


def move_after_averaging(trainer: Trainer, observer: Callback) -> None:
    """Move a callback after those that change the weights, so that they act first at each moment.

    An average then includes the step that is measured. If a rule restores earlier weights at the end, these weights are
    measured and saved.
    """
    callbacks = callbacks_of(trainer)
    others = [callback for callback in callbacks if callback is not observer]
    place = max((i + 1 for i, callback in enumerate(others) if _goes_before(callback, observer)), default=0)
    if callbacks.index(observer) < place:
        reordered = [*others[:place], observer, *others[place:]]
        trainer.callbacks = reordered  # pyright: ignore[reportAttributeAccessIssue]


def _goes_before(callback: Callback, observer: Callback) -> bool:
    """Tell whether ``callback`` changes weights that ``observer`` looks at."""
    if is_kind(callback, WeightAveraging, StochasticWeightAveraging):
        return True
    return getattr(callback, "puts_weights_back", False) and not getattr(observer, "puts_weights_back", False)


@contextmanager
def use_delivered_weights(run: Run, module: nn.Module, *, ended: bool = False) -> Generator[None, None, None]:
    """Give the module the averaged weights, with which the run validates and ends, and restore the others afterwards.

    They are those of a ``WeightAveraging``, or those that the module itself puts in place in
    ``on_validation_model_eval``, as the users of schedule-free optimizers do.

    Args:
        run: The run.
        module: The module in training.
        ended: The module already has the weights that the run ends with; nothing is done.

    Raises:
        Exception: Whatever ``on_validation_model_eval`` raises; the module is then as it was.
    """
    averaging = find_averaging(run)
    if ended:
        yield
    elif averaging is not None:
        own = module.state_dict()
        checkpoint: dict[str, Any] = {"state_dict": own}
        replace_by_average: Any = averaging.on_save_checkpoint  # a run with callbacks of Lightning is a Trainer
        replace_by_average(run, module, checkpoint)
        with _replace_temporarily(checkpoint["state_dict"], own):
            yield
    elif _swaps_to_validate(module) and not run.evaluating:
        # The way back by arithmetic would lose the last bits, and the hooks may count their calls, or draw.
        state = MapState(module)
        with keep_generators_unchanged():
            try:
                module.on_validation_model_eval()
                try:
                    with _use_weights_of_optimizers(run, module):  # of those that the module leaves as they are
                        yield
                finally:
                    _swap_back(module)
            finally:
                state.restore()
    else:
        with _use_weights_of_optimizers(run, module):
            yield


def _swaps_to_validate(module: nn.Module) -> TypeGuard[LightningModule]:
    """Tell whether a module does more than to switch to eval mode when it is validated."""
    kind = next((kind for kind in twins(LightningModule) if isinstance(module, kind)), None)
    return kind is not None and is_overridden("on_validation_model_eval", module, parent=kind)


def _swap_back(module: LightningModule) -> None:
    """Let a module put back what it has swapped to be validated, and warn if it cannot."""
    try:
        module.on_validation_model_train()
    except Exception as error:
        rank_zero_warn(
            f"{type(module).__name__}.on_validation_model_train failed outside of a validation, training goes on: "
            f"{type(error).__name__}: {error}"
        )


def _tell_mode(optimizer: Any) -> bool | None:
    """Tell whether a schedule-free optimizer is in training mode, None of any other optimizer.

    Such optimizers step with one set of weights and evaluate with another; ``eval()`` and ``train()`` put them into the
    parameters, and ``train_mode`` in the groups says which are there (Defazio et al., arXiv 2405.15682).
    """
    modes = [group.get("train_mode") for group in optimizer.param_groups]
    switches = all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))
    return any(modes) if switches and modes and None not in modes else None


@contextmanager
def _use_weights_of_optimizers(run: Run, module: nn.Module) -> Generator[None, None, None]:
    """Give the module the weights with which schedule-free optimizers evaluate, and restore the others afterwards."""
    training: list[Any] = [optimizer for optimizer in run.optimizers if _tell_mode(optimizer)]
    if not training:
        yield
        return
    own = dict(module.named_parameters())
    kept = {name: value.detach().clone() for name, value in own.items()}
    for optimizer in training:
        optimizer.eval()
    try:
        yield
    finally:
        for optimizer in training:
            optimizer.train()
        _copy(kept, own)  # going there and back rounds


@contextmanager
def use_common_buffers(run: Run, module: nn.Module, part: Part) -> Generator[None, None, None]:
    """Give the buffers of rank 0, which the run saves, to all processes, and restore the others afterwards.

    Without this, each process has running statistics of its own batches.
    """
    own = dict(module.named_buffers())
    if part.of == 1 or not own:
        yield
        return
    of_rank_0: dict[str, Tensor] = run.strategy.broadcast({name: buffer.cpu() for name, buffer in own.items()})
    with _replace_temporarily(of_rank_0, own):
        yield


@torch.no_grad()
def compute_fingerprint(module: nn.Module) -> Tensor:
    """Compute two sums over the bits of each parameter and buffer, which show on any device whether one has changed."""
    # The sums wrap around at 64 bits, and need no copy of the weights.
    sums: list[Tensor] = []
    for tensor in (*module.parameters(), *module.buffers()):
        if is_lazy(tensor) or not tensor.is_floating_point() or tensor.layout != torch.strided:
            continue
        words = tensor.detach().contiguous().view(WORDS[tensor.element_size()]).flatten()
        for part in words.split(SUMMED_AT_ONCE):
            part = part.long()
            sums.append(torch.stack([part.sum(), (part * part).sum()]).cpu())
    return torch.cat(sums) if sums else torch.empty(0, dtype=torch.long)


@contextmanager
def _replace_temporarily(source: Mapping[str, Any], target: Mapping[str, Any]) -> Generator[None, None, None]:
    """Copy values into the tensors of ``target``, and copy their own values back afterwards."""
    kept = {name: value.clone() for name, value in target.items() if isinstance(value, Tensor)}
    _copy(source, target)
    try:
        yield
    finally:
        _copy(kept, target)


@torch.no_grad()
def _copy(source: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    for name, value in source.items():
        if isinstance(target.get(name), Tensor):
            target[name].copy_(value)
