"""What the measuring callbacks share: whom they track, when they measure, how they log, keep and resume."""

import math
import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from memzoo._checks import check_batch
from memzoo.callbacks.cadence import Cadence
from memzoo.callbacks.history import closing_table, plot_history, to_pandas
from memzoo.callbacks.shards import Part, part_of, together
from memzoo.callbacks.weights import (
    averager,
    common_buffers,
    delivered_weights,
    fingerprint,
    refuse_sharded,
    stand_behind_averaging,
)
from memzoo.dynamics.spectra import Jacobians
from memzoo.errors import InvalidArgumentError, InvalidTypeError, NonFiniteError
from memzoo.modules import (
    Adapter,
    check_repeats,
    evaluation_mode,
    find_self_map,
    has_rows,
    input_of,
    like_parameters,
    rows,
)
from memzoo.runs import FitCallback, ends_here, stopping_reason

EXAMPLES, WIDE_EXAMPLES = 32, 8  # tracked by default; where the map is nowhere narrower than its input
KEPT = 2**21  # numbers of examples and starts that travel in a checkpoint of the run


class MeasuringCallback(FitCallback, ABC):
    """Measures tracked training examples while training, leaves no trace on it, and always measures the closing state.

    A subclass says what is measured: :meth:`measure_part` on one process's share, :meth:`put_together` from the shares
    of all of them.
    """

    NAMES: ClassVar[tuple[str, ...]]
    """Logged quantities."""
    BAR: ClassVar[tuple[str, ...]]
    """Those shown in the progress bar."""
    NOTHING: ClassVar[dict[str, float]]
    """Their values for a network that is not finite; NaN for all others."""
    TITLE: ClassVar[str]
    given_examples: Tensor | None
    adapter: Adapter | None
    max_examples: int | None
    rotate: int
    verbose: bool
    name: str
    measured_weights: str

    def __init__(
        self,
        examples: Tensor | None,
        *,
        self_map: Adapter | None,
        max_examples: int | None,
        rotate: int,
        every_n_epochs: int | None,
        every_n_steps: int | None,
        budget: float,
        verbose: bool,
        name: str,
    ) -> None:
        if max_examples is not None and max_examples < 1:
            raise InvalidArgumentError(f"max_examples must be at least 1, got {max_examples}.")
        if rotate < 1:
            raise InvalidArgumentError(f"rotate is a number of subsets, at least 1, got {rotate}.")
        if examples is not None:
            check_batch(examples, "examples")
        self.given_examples, self.adapter = examples, self_map
        self.max_examples, self.rotate = max_examples, rotate
        self.cadence: Cadence = Cadence(every_n_epochs, every_n_steps, budget)
        self.verbose, self.name = verbose, name
        self.keys: tuple[str, ...] = tuple(f"{name}/{quantity}" for quantity in self.NAMES)
        self.examples: Tensor | None = None
        self._forget()

    def _forget(self) -> None:
        self.history: list[dict[str, float]] = []
        self.stopping_reason: str | None = None
        self.measured_weights = "current"
        self.cadence.forget()
        self._loss: Tensor | None = None
        self._turn, self._seen_step, self._told = 0, -1, -1
        self._chosen = torch.empty(0, dtype=torch.long)
        self._harvest: list[Tensor] | None = None
        self._training = self._logged = self._ended = False
        self._whole = True
        self._weights: Tensor | None = None
        if self.given_examples is None:
            self.examples = None

    # What is measured -------------------------------------------------------------------------------------------------

    @abstractmethod
    def measure_part(self, f: nn.Module, examples: Tensor, part: Part) -> Any:
        """What one process measures, as something that can be sent to the others."""

    @abstractmethod
    def put_together(self, parts: list[Any], examples: Tensor) -> dict[str, float]:
        """The quantities by their names, from the parts of all processes; more than ``NAMES`` go to the history."""

    def choose_others(self, trainer: Trainer, examples: Tensor) -> None:
        """Choose what is needed beside the examples, once these are known."""

    def measure(self, module: nn.Module) -> dict[str, float]:
        """One measurement of ``module`` on all tracked examples, in this process; leaves no trace on it.

        Raises:
            ValueError: Nothing is tracked yet: no examples were given and no run has begun.
        """
        examples = self._tracked()
        self._chosen = torch.arange(len(examples))
        return self._named(self.put_together([self._part(module, examples, Part())], examples))

    def _part(self, module: nn.Module, examples: Tensor, part: Part) -> Any:
        with evaluation_mode(module), isolate_rng():
            f, fitting = find_self_map(module, self.adapter, like_parameters(examples, module))
            return self.measure_part(f, fitting, part)

    def _named(self, values: dict[str, float]) -> dict[str, float]:
        return {f"{self.name}/{quantity}": float(value) for quantity, value in values.items()}

    def _tracked(self) -> Tensor:
        if self.examples is None and self.given_examples is not None:
            self.examples = self.given_examples.detach().cpu()
        if self.examples is None:
            raise InvalidArgumentError(
                f"{type(self).__name__} tracks no examples yet: pass examples=, or fit a module first."
            )
        return self.examples

    def _measured(self, trainer: Trainer, module: LightningModule, examples: Tensor) -> dict[str, float]:
        """The named values, the same in all processes, or NaN where the measurement failed in one of them."""
        part = part_of(trainer)
        nothing = {key: self.NOTHING.get(key.removeprefix(f"{self.name}/"), math.nan) for key in self.keys}
        try:
            with common_buffers(trainer, module, part):
                parts = together(trainer, part, lambda: self._part(module, examples, part))
            return self._named(self.put_together(parts, examples))
        except NonFiniteError as error:
            rank_zero_warn(f"nothing is measured on a network that is not finite: {error}")
            return nothing
        except RuntimeError as error:
            if not self.history:
                raise
            rank_zero_warn(f"a measurement failed, training goes on: {error}")  # out of memory, for one
            return dict.fromkeys(self.keys, math.nan)

    # Whom to track ----------------------------------------------------------------------------------------------------

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A new fit starts a new history."""
        self._forget()
        stand_behind_averaging(trainer, self)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the examples, and check that the module maps them to their own shape."""
        refuse_sharded(trainer, self)
        self._monitored = any(
            str(getattr(callback, "monitor", None)).startswith(f"{self.name}/")
            for callback in trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        )
        averaging = averager(trainer)
        self.measured_weights = "current" if averaging is None else f"averaged ({type(averaging).__name__})"
        if self.examples is None and self.given_examples is None and not has_rows(trainer.train_dataloader):
            self._harvest = []  # a stream: its first batches, as they come by
        else:
            self._choose(trainer, pl_module)
        self._resumed_s, self._resumed_steps = self.cadence.training_s, self.cadence.steps
        self._resumed_measuring_s = self.cadence.measuring_s
        self._started, self._first_step = time.monotonic(), trainer.global_step
        self._training, self._logged = True, False

    def _choose(self, trainer: Trainer, module: LightningModule) -> None:
        with isolate_rng():  # starts, or a map that is refused, may draw from the global generators
            self._choose_examples(trainer, module)
            self.choose_others(trainer, self._tracked())

    def _choose_examples(self, trainer: Trainer, module: LightningModule) -> None:
        data = self.given_examples if self.examples is None else self.examples
        try:
            if data is None and self._harvest is not None:
                data = torch.cat(self._harvest)[: self._most()]
            elif data is None:
                data = rows(trainer.train_dataloader, self._most(), batches=trainer.num_training_batches)
        except (TypeError, IndexError) as error:
            raise InvalidTypeError(f"{type(self).__name__} could not read the tracked examples: {error}") from error
        data = trainer.strategy.broadcast(data.detach().cpu())
        check_batch(data, "the tracked examples")
        chosen_for_us = self.given_examples is None and self.max_examples is None
        with evaluation_mode(module):
            f, adapted = find_self_map(module, self.adapter, like_parameters(data, module))
            check_repeats(f, adapted)
            many = chosen_for_us and len(data) > WIDE_EXAMPLES * self.rotate
            slow = many and Jacobians(f, adapted, None, 2**30).method == "arnoldi"
        if slow:
            data = data[:: math.ceil(len(data) / (WIDE_EXAMPLES * self.rotate))]
            rank_zero_info(
                f"{type(module).__name__} is nowhere narrower than its {adapted[0].numel()} inputs, so that "
                f"measuring is slower: {len(data)} examples are tracked; set max_examples to track more."
            )
        self.examples, self._harvest = data, None

    def _most(self) -> int:
        return (self.max_examples or EXAMPLES) * self.rotate

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take the first examples of a stream as they come by, before anything changes them."""
        if self._harvest is None:
            return
        try:
            self._harvest.append(input_of(batch).detach().cpu().clone())
        except TypeError as error:
            raise InvalidTypeError(f"{type(self).__name__} could not read the tracked examples: {error}") from error
        if len(self._harvest) == 1:
            with evaluation_mode(pl_module), isolate_rng():  # refuse at once what is no self-map
                find_self_map(pl_module, self.adapter, like_parameters(self._harvest[0], pl_module))
        enough = sum(map(len, self._harvest)) >= self._most()
        if trainer.strategy.reduce_boolean_decision(enough):  # all processes together: batches may differ in size
            self._choose(trainer, pl_module)

    # When -------------------------------------------------------------------------------------------------------------

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the loss without waiting for it; measure, where a measurement is due within an epoch."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self._loss = loss.detach() if isinstance(loss, Tensor) and loss.numel() == 1 else None
        if self._loss is not None and pl_module.automatic_optimization:
            self._loss = self._loss * trainer.accumulate_grad_batches  # Lightning hands out its share of a step
        step, batches = trainer.global_step, trainer.num_training_batches
        self._count_time(step, time.monotonic())  # for a checkpoint that is saved now
        new, self._seen_step = step != self._seen_step and self.examples is not None, step
        last = batch_idx + 1 >= batches
        by_steps = self.cadence.every_n_steps is not None
        if new and (by_steps or not last) and self.cadence.due_after_batch(step, batches):
            before = len(self.history)
            self._record(trainer, pl_module)
            measured = len(self.history) > before
            for key in self.keys if measured else ():  # for ModelCheckpoint; loggers were told already
                pl_module.log(key, self.history[-1][key], on_step=True, on_epoch=False, logger=False, batch_size=1)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure here where the run validates, so that monitors of the validation see the value."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._measure_if_due(trainer, pl_module, closing=False)
        elif trainer.state.fn == "validate":
            self._measure_outside(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure in ``Trainer.test``."""
        self._measure_outside(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, unless the validation of this epoch just did."""
        self._measure_if_due(trainer, pl_module, closing=ends_here(trainer))

    def _measure_if_due(self, trainer: Trainer, module: LightningModule, *, closing: bool) -> None:
        if self._harvest:  # a stream shorter than what was asked for
            self._choose(trainer, module)
        if self.examples is None:
            return
        step = trainer.global_step
        if self.cadence.every_n_steps is not None:
            due = not self.history
        else:
            due = self.cadence.due_after_epoch(step, trainer.current_epoch)
            if self.cadence.every_n_epochs is not None:  # several validations an epoch: the last one
                due &= trainer.is_last_batch
            due |= not self.history
            due |= self.cadence.by_budget and self._monitored
        if (due or closing) and not (self._is_closed(trainer, module) if closing else self._is_measured(step)):
            must = closing or self._monitored
            self._record(trainer, module, closing=closing, within=True, must=must)
        if self._logged and (not self._is_measured(step) or self._told == len(self.history)):
            return
        self._logged, self._told = True, len(self.history)  # a resumed run: the last values, for the monitors
        alone = trainer.world_size == 1
        for key, quantity in zip(self.keys, self.NAMES, strict=True):
            bar = quantity in self.BAR
            module.log(key, self.history[-1][key], prog_bar=bar, on_epoch=True, sync_dist=not alone, batch_size=1)

    def _is_measured(self, step: int) -> bool:
        """The state after ``step`` was measured."""
        return bool(self.history) and self.history[-1]["step"] == step

    def _is_closed(self, trainer: Trainer, module: LightningModule) -> bool:
        """It was measured on all that is tracked, and no callback put other weights in place since."""
        if not self._is_measured(trainer.global_step) or not self._whole:
            return False
        with delivered_weights(trainer, module, ended=self._ended):
            same = self._weights is None or torch.equal(self._weights, fingerprint(module))
        return trainer.strategy.broadcast(same)

    def _record(
        self,
        trainer: Trainer,
        module: LightningModule,
        *,
        closing: bool = False,
        within: bool = False,
        must: bool = False,
    ) -> None:
        """Measure, tell those who listen, and settle on rank 0 when the next measurement is due.

        Nothing is measured but where it must be, if steps went faster than they were taken to, and it is too early.
        """
        step, before, cadence = trainer.global_step, time.monotonic(), self.cadence
        self._count_time(step, before)
        if self.history and not must:
            postponed = cadence.early(self.history[-1]["seconds"])
            later = cadence.plan(step, self.history[-1]["seconds"])
            postponed, later = trainer.strategy.broadcast((postponed, later))
            if postponed:
                cadence.next_step = later
                return
        tracked = self._tracked()
        self._whole = closing or self.rotate == 1 or len(tracked) < 2 * self.rotate
        self._chosen = torch.arange(len(tracked))
        if not self._whole:
            self._chosen = self._chosen[self._turn % self.rotate :: self.rotate]
        self._turn += 1
        with delivered_weights(trainer, module, ended=self._ended):
            self._weights = fingerprint(module)
            values = self._measured(trainer, module, tracked[self._chosen])
            # reduced in place: a loss that the module handed out is not ours to change
            mean = None if self._loss is None else trainer.strategy.reduce(self._loss.clone(), reduce_op="mean")
            again = self.history[-1] if self._is_measured(step) else {"loss": math.nan, "epoch": self._epoch(trainer)}
            loss = again["loss"] if mean is None else float(mean)
            cost = time.monotonic() - before
            cadence.measuring_s += cost
            plan = cadence.plan(step, cost)
            cost, cadence.next_step = trainer.strategy.broadcast((cost, plan))
            row = {"step": step, "epoch": again["epoch"], "loss": loss, **values, "seconds": round(cost, 4)}
            self.history.append(row)
            for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
                listen = getattr(callback, "on_measurement", None)
                if listen is not None:
                    listen(trainer, module, self)
        if not within:
            self._log_now(trainer)

    def _epoch(self, trainer: Trainer) -> int:
        """Index of the epoch of the last step; when the run has ended, Lightning counts that epoch as done."""
        return max(trainer.current_epoch - self._ended, 0)

    def _count_time(self, step: int, now: float) -> None:
        own = self.cadence.measuring_s - self._resumed_measuring_s
        self.cadence.training_s = self._resumed_s + max(now - self._started - own, 0.0)
        self.cadence.steps = self._resumed_steps + step - self._first_step

    def _log_now(self, trainer: Trainer) -> None:
        """Outside the moments at which Lightning logs by itself; it numbers the first step 0."""
        values = {key: self.history[-1][key] for key in self.keys}
        for logger in trainer.loggers:
            logger.log_metrics(values | {"epoch": self._epoch(trainer)}, step=trainer.global_step - 1)

    def _measure_outside(self, trainer: Trainer, module: LightningModule) -> None:
        """In ``Trainer.validate`` and ``Trainer.test``: logged, not kept in the history of the run."""
        if self.examples is None and self.given_examples is None:
            rank_zero_info(
                f"{type(self).__name__} measures nothing here: it tracks no examples; pass examples=, or let it watch "
                "Trainer.fit before."
            )
            return
        tracked = self._tracked()
        self.choose_others(trainer, tracked)
        self._chosen = torch.arange(len(tracked))
        for key, value in self._measured(trainer, module, tracked).items():
            if key in self.keys:
                module.log(key, value, on_epoch=True, sync_dist=trainer.world_size > 1, batch_size=1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the closing state and print the table."""
        self._ended = True
        self._close(trainer, pl_module, stopping_reason(trainer))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """An interrupted run is measured too, by one process; after any other error nothing is touched."""
        if isinstance(exception, KeyboardInterrupt) and self._training and trainer.world_size == 1:
            self._close(trainer, pl_module, stopping_reason(trainer, exception))

    def _close(self, trainer: Trainer, module: LightningModule, reason: str) -> None:
        self._training, self.stopping_reason = False, reason
        if self._harvest:
            self._choose(trainer, module)
        if self.examples is None:
            return
        if not self._is_closed(trainer, module):
            self._record(trainer, module, closing=True, must=True)
        self.advise(module)
        if self.verbose:
            rank_zero_info(self.table())

    def advise(self, module: nn.Module) -> None:
        """Warn of what the closing state says that the user can act on."""

    # What is kept and shown -------------------------------------------------------------------------------------------

    def about(self) -> str:
        """What the values refer to."""
        return f"{len(self._tracked())} examples"

    def table(self) -> str:
        """The history as text, thinned to at most a dozen lines."""
        if not self.history:
            return f"{self.TITLE}: nothing was measured yet."
        text = closing_table(self.history, self.name, f"{self.TITLE} among {self.about()}")
        notes = [] if self.measured_weights == "current" else [f"Weights measured: {self.measured_weights}."]
        notes += [] if self.stopping_reason is None else [f"The run ended: {self.stopping_reason}."]
        return "\n".join([text, *notes])

    def plot(self) -> Any:
        """Figure of the history against optimizer steps: shares, spectral radius and its quantiles, loss."""
        return plot_history(self.history, self.name)

    def to_pandas(self) -> Any:
        """The history as a :class:`pandas.DataFrame`, a row a measurement."""
        return to_pandas(self.history)

    @property
    def state_key(self) -> str:
        """Two callbacks of different names can stand side by side."""
        return self._generate_state_key(name=self.name)

    def kept(self) -> dict[str, Tensor]:
        """Tensors without which a resumed run would measure something else."""
        return {} if self.examples is None or self.given_examples is not None else {"examples": self.examples}

    def restore(self, kept: dict[str, Tensor]) -> None:
        """Take them back."""
        self.examples = kept.get("examples", self.examples)

    def state_dict(self) -> dict[str, Any]:
        """History, cadence and what is tracked, in plain Python and tensors."""
        kept = self.kept()
        return {
            "history": [dict(row) for row in self.history],
            "cadence": self.cadence.state_dict(),
            "turn": self._turn,
            "whole": self._whole,
            "kept": kept if sum(tensor.numel() for tensor in kept.values()) <= KEPT else {},
        }

    def go_on(self, state: dict[str, Any]) -> None:
        """History, cadence and what is tracked, of the run that is resumed."""
        self.history = [dict(row) for row in state["history"]]
        self.cadence.load_state_dict(state["cadence"])
        self._turn, self._whole = state["turn"], state["whole"]
        self.restore(state["kept"])
