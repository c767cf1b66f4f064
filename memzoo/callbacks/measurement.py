"""Measure the tracked examples of a module at one moment, in all processes, around examples that are bad."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from memzoo._attempt import is_out_of_memory
from memzoo._generators import keep_generators_unchanged
from memzoo.callbacks.bad_rows import describe_bad_rows, find_bad_rows, has_finite_weights
from memzoo.callbacks.quantities import Quantity
from memzoo.callbacks.reporting import Reporter, Row
from memzoo.callbacks.shards import Part, find_part, gather_parts
from memzoo.callbacks.tracked_examples import TrackedExamples
from memzoo.callbacks.weights import use_common_buffers
from memzoo.errors import InvalidArgumentError, NonFiniteError, NotASelfMapError
from memzoo.modules import Adapter, evaluation_mode, find_self_map, like_parameters
from memzoo.runs import Run

Gather = Callable[[Callable[[Part], Any]], list[Any]]
"""Do work on the share of each process, and return all results."""


class ExampleMeasurer(ABC):
    """Measure the tracked examples as a module is now; when that is done, the subclasses say.

    A measurement never raises in a run: examples at which it fails are left out, and where it fails altogether its row
    is NaN, with the reason.
    """

    QUANTITIES: ClassVar[tuple[Quantity, ...]]
    """Quantities that are logged."""
    adapter: Adapter | None
    name: str
    keys: tuple[str, ...]
    _tracked: TrackedExamples
    _reporter: Reporter

    @abstractmethod
    def measure_part(self, f: nn.Module, examples: Tensor, part: Part) -> Any:
        """Measure the share of one process, and return something that can be sent to the others."""

    @abstractmethod
    def combine_parts(self, parts: list[Any], examples: Tensor) -> dict[str, float]:
        """Return the quantities by their names, from the parts of all processes.

        All of ``QUANTITIES`` must be among them; any others go to the history alone.
        """

    def measure(self, module: nn.Module) -> Row:
        """Measure ``module`` on all tracked examples, in this process, and leave no trace on it.

        Raises:
            ValueError: Nothing is tracked yet: no examples were given and no run has begun.
        """
        examples = self._tracked.take_all()
        values = self._measure_rows(module, examples, lambda work: [work(Part())])
        return self._name_values({name: value for name, value in values.items() if name != "reason"})

    def _measure_rows(self, module: nn.Module, examples: Tensor, gather: Gather) -> dict[str, Any]:
        """Measure the examples together, or, where this fails at some of them, the others.

        Returns:
            The quantities by their names. Examples that could not be measured count in the denominators of shares, and
            ``reason`` says why they could not.
        """
        try:
            return {"measured": 1.0, **self._measure_good_rows(module, examples, gather)}
        except Exception as error:
            weights_fail = isinstance(error, NonFiniteError) and not has_finite_weights(module)
            bad = {} if weights_fail or is_out_of_memory(error) else self._gather_bad_rows(module, examples, gather)
            if not bad:
                raise
        return self._measure_around(bad, module, examples, gather)

    def _measure_around(
        self, bad: dict[int, str], module: nn.Module, examples: Tensor, gather: Gather
    ) -> dict[str, Any]:
        """Measure all examples but the bad ones, which are given with their reasons."""
        good = torch.tensor([row for row in range(len(examples)) if row not in bad], dtype=torch.long)
        chosen = self._tracked.chosen
        self._tracked.chosen = chosen[good]
        known = self._measure_good_rows(module, examples[good], gather) if len(good) else {}
        values = {quantity.key: math.nan for quantity in self.QUANTITIES} | known
        measured = len(good) / len(examples)
        for quantity in self.QUANTITIES:
            if quantity.share_of_examples:
                values[quantity.key] *= measured
        named = {int(chosen[row]): reason for row, reason in bad.items()}
        return {**values, "measured": measured, "reason": describe_bad_rows(named, len(examples), "examples")}

    def _measure_good_rows(self, module: nn.Module, examples: Tensor, gather: Gather) -> dict[str, float]:
        parts = gather(lambda part: self._measure_share(module, examples, part))
        return self.combine_parts(parts, examples)

    def _gather_bad_rows(self, module: nn.Module, examples: Tensor, gather: Gather) -> dict[int, str]:
        """Find the examples at which a measurement fails, in all processes together."""
        shares = gather(lambda part: self._find_bad_rows(module, examples, part))
        return {row: reason for share in shares for row, reason in share.items()}

    def _find_bad_rows(self, module: nn.Module, examples: Tensor, part: Part) -> dict[int, str]:
        """Find the examples of one process at which a measurement fails."""
        chosen = self._tracked.chosen

        def attempt(rows: Tensor) -> None:
            self._tracked.chosen = chosen[rows]
            with evaluation_mode(module), keep_generators_unchanged():
                self.try_examples(*self._find_map(module, examples[rows]))

        try:
            return find_bad_rows(attempt, part.select(torch.arange(len(examples))))
        finally:
            self._tracked.chosen = chosen

    def try_examples(self, f: nn.Module, examples: Tensor) -> None:
        """Do what may fail at a single one of some examples."""
        self.measure_part(f, examples, Part())

    def _measure_share(self, module: nn.Module, examples: Tensor, part: Part) -> Any:
        """Measure the share of one process in eval mode, with all generators put back afterwards."""
        # A map may draw at random in eval mode, and so may its adapter: training must not notice.
        with evaluation_mode(module), keep_generators_unchanged():
            return self.measure_part(*self._find_map(module, examples), part)

    def _find_map(self, module: nn.Module, examples: Tensor) -> tuple[nn.Module, Tensor]:
        """Return the map, and the examples as it takes them; the first example may be a bad one."""
        points = like_parameters(examples, module)
        for row in range(len(points) - 1):
            try:
                f, one = find_self_map(module, self.adapter, points[row : row + 1])
            except NotASelfMapError:
                continue
            return f, points.reshape(len(points), *one.shape[1:])
        f, one = find_self_map(module, self.adapter, points[-1:])
        return f, points.reshape(len(points), *one.shape[1:])

    def _name_values(self, values: dict[str, float]) -> Row:
        """Return the values by their keys, in the order of the table of quantities."""
        names = [quantity.key for quantity in self.QUANTITIES]
        missing = [name for name in names if name not in values]
        if missing:
            raise InvalidArgumentError(
                f"{type(self).__name__}.combine_parts in {type(self).__module__} returns {', '.join(values)}, but no "
                f"{', '.join(missing)}, which QUANTITIES of the class lists; return a value for it, or remove its row."
            )
        names += [name for name in values if name not in (*names, "measured")]
        return {f"{self.name}/{name}": float(values[name]) for name in names}

    def _measure_in_all_processes(self, run: Run, module: nn.Module, examples: Tensor) -> Row:
        """Return the named values, the same in all processes, or NaN where the measurement failed in one of them."""
        part = find_part(run)

        def gather(work: Callable[[Part], Any]) -> list[Any]:
            return gather_parts(run, part, lambda: work(part))

        try:
            with use_common_buffers(run, module, part), keep_generators_unchanged():
                values = self._measure_rows(module, examples, gather)
            reason = values.pop("reason", None)
            row = self._name_values(values)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # whatever the map, a library or the machine raises: training goes on without
            return self._describe_failure(error, module)
        if reason is not None:
            rank_zero_warn(f"{self.name}: {reason}")
            row["reason"] = reason
        return row

    def _describe_failure(self, error: BaseException, module: nn.Module) -> Row:
        """Return the row of a measurement that failed, with its reason, and warn."""
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, NonFiniteError) and not has_finite_weights(module):
            rank_zero_warn(f"nothing is measured on a network that is not finite: {error}")
            return {**self._reporter.if_not_finite, "reason": reason}
        rank_zero_warn(f"a measurement failed, training goes on: {reason}")
        return {**dict.fromkeys(self.keys, math.nan), "reason": reason}
