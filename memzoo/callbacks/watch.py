"""Measure in any training loop what :class:`memzoo.callbacks.AttractorCallback` measures in a Trainer."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from memzoo._generators import keep_generators_unchanged
from memzoo.callbacks.attractor import AttractorCallback
from memzoo.callbacks.loop import Loop
from memzoo.callbacks.options import Starts
from memzoo.callbacks.reporting import Row
from memzoo.callbacks.stopping import StopBeforeMemorized, StopWhenMemorized
from memzoo.dynamics import Certificates
from memzoo.errors import InvalidArgumentError
from memzoo.modules import Adapter, find_module


@final
class Watch:
    r"""Measure how many training examples are attractors, and how many are recovered, in a training loop of any kind.

    Call :meth:`step` after each optimizer step. Training is left bit-identical, and a measurement that fails never ends
    the loop: its row has the ``reason``. What is measured, and the keys of a row, are those of
    :class:`memzoo.callbacks.AttractorCallback`, without the epoch, which nobody counts here.

    Where several processes train (DDP, accelerate, Fabric), call it in each of them: examples and starts are shared out
    among them, and all have the same history. ``shared=False`` is for loops that call it in one process alone.

    Args:
        model: Module in training, or any function from a batch to a batch of the same shape. A module may be wrapped by
            ``torch.compile``, DDP, Fabric or accelerate. Averaged weights (EMA) are watched by giving the module that
            holds them.
        examples: Tracked examples (n, \*shape). When left out, give :meth:`step` the batches: the examples are then a
            random sample of up to ``max_examples`` distinct rows of them. It is final when as many rows as before have
            come by without a new one, or 65 536 rows; rows of the history before this are marked as ``provisional``.
        starts: Starts of the iteration: points (B, \*shape), or a function that makes them from the examples; noise
            when left out: each coordinate is that of a tracked example, drawn for each start anew.
        every: Measure at every so many optimizer steps.
        budget: Share of the training time that measuring may take, if ``every`` is not given.
        self_map: ``self_map(module, x)`` returns the reconstruction, if ``forward`` does not.
        eps: Radius of recovery, as for the callback.
        steps: Iterations T.
        max_examples: Most examples, if they are not given.
        max_starts: Most starts, if they are not given.
        seed: Seed of the noise starts.
        name: First part of the keys.
        rules: :class:`memzoo.callbacks.StopWhenMemorized` and :class:`memzoo.callbacks.StopBeforeMemorized` with
            arguments of your own, which set :attr:`should_stop`.
        on_measure: ``on_measure(row)`` is called with each row, in the first process; it may send the row to a logger.
        optimizer: Optimizer, if it evaluates with other weights than it steps with (schedule-free optimizers).
        shared: All processes call this object, and measure together.

    Raises:
        ValueError: An argument is out of its range, or the parameters of the model are divided among processes.
        NotASelfMapError: The model does not map the examples to their own shape.

    Example:
        >>> model = torch.nn.Linear(2, 2)
        >>> watch = Watch(model, torch.eye(2), every=100)
        >>> watch.measure()["attractor/fraction"]
        0.0
    """

    model: nn.Module
    """The measured module, without its wrappers."""

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Any],
        examples: Tensor | None = None,
        starts: Starts | None = None,
        *,
        every: int | None = None,
        budget: float = 0.05,
        self_map: Adapter | None = None,
        eps: float | Tensor | None = None,
        steps: int = 200,
        max_examples: int | None = None,
        max_starts: int | None = None,
        seed: int = 0,
        name: str = "attractor",
        rules: Sequence[StopWhenMemorized | StopBeforeMemorized] = (),
        on_measure: Callable[[Row], Any] | None = None,
        optimizer: Optimizer | None = None,
        shared: bool = True,
    ) -> None:
        if every is not None and every < 1:
            raise InvalidArgumentError(f"every must be at least 1, got {every}.")
        _check_sources(examples, starts, shared=shared)
        self.model = find_module(model)
        self.rules: tuple[StopWhenMemorized | StopBeforeMemorized, ...] = tuple(rules)
        self._on_measure = on_measure
        self._course = AttractorCallback(
            examples,
            "noise" if starts is None else starts,
            self_map=self_map,
            eps=eps,
            steps=steps,
            max_examples=max_examples,
            max_starts=max_starts,
            every_n_steps=every,
            budget=budget,
            seed=seed,
            name=name,
        )
        self._course.owner = "Watch"
        self._loop = Loop(
            self.model, [self._course, *self.rules], [] if optimizer is None else [optimizer], shared=shared
        )
        self._all_memorized = StopWhenMemorized(name=name)
        self._none_memorized = StopBeforeMemorized(name=name)
        self._leaks = False
        self._clock_runs = False
        self._course.begin_tracking(self._loop, self.model)
        self._tell_rules("begin")
        self._tell_rules("on_train_start")

    # In the loop ------------------------------------------------------------------------------------------------------

    def step(self, batch: Any = None, *, loss: Tensor | float | None = None, step: int | None = None) -> Row | None:
        """Count an optimizer step, and measure if a measurement is due.

        Args:
            batch: What the model was trained on, of which the tracked examples are taken if they were not given: a
                tensor, a tuple that begins with one, or a dict with an image; the rows as the model gets them.
            loss: Loss of the step, for the history; a tensor is read only when something is measured.
            step: Number of the step, if the loop counts for itself; else one more than the last.

        Returns:
            The row of the history, or None if nothing was measured.

        Raises:
            ValueError: There are neither examples nor a batch.
            TypeError: The first batch holds no floating-point tensor.
            NotASelfMapError: The model does not map the rows of the first batch to their own shape.
        """
        self._start_clock()
        if batch is not None:
            self._course.observe(self._loop, self.model, batch)
        self._check_examples()
        self._loop.global_step = self._loop.global_step + 1 if step is None else step
        return self._report() if self._course.end_step(self._loop, self.model, loss) else None

    def measure(self) -> Row:
        """Measure now, unless the present weights are those of the last row, and return the row.

        Call it once more at the end of training: the last state is the one that counts.

        Raises:
            ValueError: There are no examples yet.
        """
        self._start_clock()
        self._check_examples()
        return self._report() if self._course.record_last(self._loop, self.model) else self.history[-1]

    def close(self) -> Row:
        """End the watch: measure the last state, after a rule that has stopped has put clean weights back.

        Warns:
            UserWarning: The loss was still falling, or dropout or batch norm make the measured map another than the one
                that was trained.
        """
        self._tell_rules("on_train_end")
        self._course.stopping_reason = self.stopping_reason
        row = self.measure()
        self._course.advise(self.model)
        return row

    def _start_clock(self) -> None:
        """Count the time from the first step, and not from when this object was made."""
        if not self._clock_runs:
            self._clock_runs = True
            self._course.cadence.begin(self._loop.global_step)

    def _check_examples(self) -> None:
        if not self._course.is_tracking:
            raise InvalidArgumentError(
                "Watch tracks no examples: pass examples= to Watch, or give it the batches that the model is trained "
                "on, watch.step(batch)."
            )

    def _tell_rules(self, hook: str) -> None:
        """Call a hook of each rule; of a Trainer, a rule reads what a loop has too."""
        for rule in self.rules:
            getattr(rule, hook)(self._loop, self.model)

    def _report(self) -> Row:
        """Judge the last row, and hand it to the user; return it."""
        row = self.history[-1]
        if "provisional" not in row:
            self._all_memorized.count(row)
        self._leaks |= bool(self._none_memorized.find_memorized(row))
        if self._on_measure is not None and self._loop.is_global_zero:
            try:
                with keep_generators_unchanged():
                    self._on_measure(dict(row))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # a full disk, a lost connection, or anything else that a logger raises
                rank_zero_warn(f"on_measure failed, training goes on: {type(error).__name__}: {error}")
        return row

    # Whether to stop --------------------------------------------------------------------------------------------------

    @property
    def memorized(self) -> bool:
        """Tell whether all tracked examples were certified attractors in the last two measurements."""
        return self._all_memorized.is_met

    @property
    def leaks(self) -> bool:
        """Tell whether a measurement so far has found an attractor at an example, or recovered an example."""
        return self._leaks

    @property
    def should_stop(self) -> bool:
        """Tell whether one of ``rules`` asks for the end of training."""
        return self._loop.should_stop

    @property
    def stopping_reason(self) -> str | None:
        """Return which of ``rules`` has stopped, and why."""
        return next((rule.stopped_because for rule in self.rules if rule.stopped_because is not None), None)

    # What was measured ------------------------------------------------------------------------------------------------

    @property
    def history(self) -> list[Row]:
        """Return a plain dict for each measurement: step, loss, the values by their keys, seconds."""
        return self._course.history

    @property
    def examples(self) -> Tensor | None:
        """Return the tracked examples, None before they are known."""
        return self._course.examples

    @property
    def starts(self) -> Tensor | None:
        """Return the starts, None before they are known."""
        return self._course.starts

    @property
    def certificates(self) -> Certificates | None:
        """Return the certificates of the last measurement, one row for each tracked example."""
        return self._course.certificates

    def table(self) -> str:
        """Return the history as text, thinned to at most a dozen lines."""
        return self._course.table()

    def examples_table(self) -> str:
        """Return the last measurement with a line for each example: its verdict, its limit, who shares the limit."""
        return self._course.examples_table()

    def plot(self) -> Any:
        """Draw the history against optimizer steps: shares, spectral radius and its quartiles, loss."""
        return self._course.plot()

    def to_pandas(self) -> Any:
        """Return the history as a :class:`pandas.DataFrame`, with a row for each measurement."""
        return self._course.to_pandas()

    # What is kept -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed loop needs, in plain Python and tensors."""
        return {
            "step": self._loop.global_step,
            "course": self._course.state_dict(),
            "rules": [rule.state_dict() for rule in self.rules],
            "memorized": self._all_memorized.state_dict(),
            "leaks": self._leaks,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the state of another loop.

        Raises:
            ValueError: The other loop had another number of rules.
        """
        if len(state["rules"]) != len(self.rules):
            raise InvalidArgumentError(
                f"the state is of a Watch with {len(state['rules'])} rules, this one has {len(self.rules)}; give both "
                "the same ones."
            )
        self._loop.global_step = state["step"]
        self._course.resume(state["course"])
        for rule, content in zip(self.rules, state["rules"], strict=True):
            rule.resume(content)
        self._all_memorized.resume(state["memorized"])
        self._leaks = state["leaks"]
        self._clock_runs = False
        self._course.begin_tracking(self._loop, self.model)


def _check_sources(examples: Tensor | None, starts: Starts | None, *, shared: bool) -> None:
    """Refuse examples and starts that nobody could bring."""
    if isinstance(starts, str) and starts == "validation":
        raise InvalidArgumentError("starts='validation' needs a Trainer that validates; pass the rows as a tensor.")
    connected = torch.distributed.is_available() and torch.distributed.is_initialized()
    if examples is None and not shared and connected and torch.distributed.get_world_size() > 1:
        raise InvalidArgumentError(
            "shared=False in one of several processes needs examples=: the batches of this process are a part of those "
            "that the model is trained on."
        )
