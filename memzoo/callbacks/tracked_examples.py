"""The tracked examples: given, or a random sample of the rows that are trained on; all of them, or subsets in turn."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from memzoo._checks import check_batch, check_map
from memzoo.callbacks.options import MeasuringOptions
from memzoo.callbacks.shards import gather_objects
from memzoo.dynamics.reconstruction import describe_map
from memzoo.dynamics.spectra import Jacobians
from memzoo.dynamics.tracing import promote_to_float64
from memzoo.errors import InvalidArgumentError, InvalidTypeError
from memzoo.modules import (
    NAMES,
    POOL,
    Reservoir,
    Sample,
    batch_of_first,
    evaluation_mode,
    find_self_map,
    input_of,
    join_samples,
    like_parameters,
)
from memzoo.runs import Run

EXAMPLES = 32
"""Number of examples that are tracked by default."""
WIDE_EXAMPLES = 8
"""The same for a large map that is nowhere narrower than its input."""
LARGEST_JACOBIAN_BYTES = 2**30
MOST_SEEN = 2**16
"""Most rows of the first epoch that are looked at."""
KEPT = 2**21
"""Most numbers of examples, and of starts, that travel in a checkpoint of the run."""


class TrackedExamples:
    """Choose the examples that a callback tracks, and those of them that it measures next.

    Examples that are not given are a random sample of the distinct rows that ``training_step`` gets in the first epoch.
    Until this epoch has ended, they are a sample of the rows so far.

    Args:
        options: ``examples``, ``self_map``, ``max_examples`` and ``rotate`` are used.
        owner: Name of the callback's class, for messages.
    """

    options: MeasuringOptions
    owner: str
    examples: Tensor | None

    def __init__(self, options: MeasuringOptions, owner: str) -> None:
        self.options = options
        self.owner = owner
        self.examples = None
        self.forget()

    def forget(self) -> None:
        """Forget the last run; examples that were given are kept."""
        self.turn: int = 0
        """Number of measurements so far."""
        self.whole: bool = True
        """Whether the last measurement was of all examples."""
        self.chosen: Tensor = torch.empty(0, dtype=torch.long)
        """Indices of the examples of the last measurement."""
        self.pending: bool = True
        """Whether the examples are still to be chosen, or to be chosen anew because more rows may have come by."""
        self._known: Tensor | None = None
        self._places = torch.empty(0, dtype=torch.long)
        self._names = torch.empty(0, dtype=torch.long)
        self._begin_sample()
        if self.options.examples is None:
            self.examples = None

    def _begin_sample(self, wanted: Tensor | None = None) -> None:
        """Begin to look at rows, and prefer those of certain names."""
        self._reservoir = Reservoir(self.most, POOL, wanted)
        self._is_complete = False
        self._misses_beginning = False

    def get(self) -> Tensor:
        """Return all tracked examples.

        Raises:
            ValueError: Nothing is tracked yet: no examples were given and no run has begun.
        """
        if self.examples is None and self.options.examples is not None:
            self.examples = self.options.examples.detach().cpu()
        if self.examples is None:
            raise InvalidArgumentError(f"{self.owner} tracks no examples yet: pass examples=, or fit a module first.")
        return self.examples

    def derive_from_all(self, derive: Callable[[Tensor], Tensor]) -> Tensor:
        """Derive a value for each tracked example from all rows of the sample, of which they are a part.

        Args:
            derive: Function that returns one value for each of many rows, and is given all of them.
        """
        examples = self.get()
        if self._known is None:
            return derive(examples)
        return derive(self._known)[self._places]

    def drop_sample(self) -> None:
        """Drop the rows beside the examples, once everything is derived from them."""
        self._known = None

    # Which rows are looked at -----------------------------------------------------------------------------------------

    @property
    def most(self) -> int:
        """Return the largest number of examples that are taken from data."""
        return (self.options.max_examples or EXAMPLES) * self.options.rotate

    @property
    def are_known(self) -> bool:
        """Tell whether the examples were given, come from the checkpoint of a resumed run, or were chosen for good."""
        if self.options.examples is not None:
            return True
        return self.examples is not None and not len(self._reservoir) and not len(self._reservoir.wanted)

    @property
    def are_found(self) -> bool:
        """Tell whether there is anything to measure."""
        return self.are_known or len(self._reservoir) > 0

    @property
    def are_provisional(self) -> bool:
        """Tell whether the examples are a sample of the rows so far, because the first epoch has not ended."""
        return len(self._reservoir) > 0

    def observe(self, run: Run, batch: Any, batch_idx: int | None) -> bool:
        """Look at a batch before anything changes it, and tell whether it brought the first rows.

        Without a number, of a loop whose epochs nobody counts, the sample ends once as many rows as all before have
        come by without a new one.

        Raises:
            TypeError: The first batch holds no floating-point tensor.
        """
        if self.are_known or self._is_complete or self._reservoir.seen >= MOST_SEEN:
            return False
        is_first = self._reservoir.seen == 0
        if is_first and batch_idx:  # of a run that was resumed within an epoch
            self._misses_beginning = True
        try:
            rows = input_of(batch_of_first(batch, run.train_dataloader))
        except (TypeError, LookupError) as error:
            if is_first:
                raise InvalidTypeError(f"{self.owner} could not read the tracked examples: {error}") from error
            return False  # one of several loaders may end before the others
        self._reservoir.add(rows)
        if batch_idx is None and self._reservoir.seen >= 2 * self._reservoir.last_new:
            self._is_complete = True
        return is_first and len(self._reservoir) > 0

    def end_epoch(self) -> None:
        """End the sample with the first epoch that was seen from its beginning."""
        if self._misses_beginning:
            self._misses_beginning = False
        elif len(self._reservoir):
            self._is_complete = True

    # Which examples are tracked ---------------------------------------------------------------------------------------

    def choose(self, run: Run, module: nn.Module, *, check: bool) -> bool:
        """Choose the examples, the same ones in all processes, and tell whether they may be others than before.

        Args:
            run: The run.
            module: The module in training.
            check: Check that the examples are finite, and that the map has one answer to each, whatever is beside it.

        Raises:
            NotASelfMapError: The module maps them to another shape, or has two answers to one of them.
            NonFiniteError: They hold NaN or infinity.
        """
        if self.are_known:
            self.examples = run.strategy.broadcast(self.get())
            check_batch(self.examples, "the tracked examples")
            self._find_map(module, self.examples, check=check)
            self.pending = False
            return False
        sample = self._gather()
        if sample is None:
            return False
        is_finite = sample.rows.reshape(len(sample.rows), -1).isfinite().all(1)
        if not is_finite.any():
            check_batch(sample.rows, "the tracked examples")
        sample = sample.select(is_finite.nonzero().flatten())
        by_name = sample.names.argsort()
        count = self._find_map(module, sample.rows[by_name[: self.most]], check=check)
        self._places = self._put_in_order(by_name[:count], sample.names)
        self._known = sample.rows
        self._names = sample.names[self._places]
        self.examples = sample.rows[self._places]
        if self._is_complete:
            others = self._reservoir.passed_over
            if others:
                rank_zero_info(f"{self.owner} tracks none of {others} rows of other shapes than that of the first.")
            self.pending = False
            self._begin_sample()
        return True

    def _find_map(self, module: nn.Module, examples: Tensor, *, check: bool) -> int:
        """Find the map of a module, and return how many of these examples are tracked."""
        count = len(examples)
        with evaluation_mode(module):
            f, adapted = find_self_map(module, self.options.self_map, like_parameters(examples, module))
            if check:
                check_map(f, adapted, promote_to_float64)
                statement = describe_map(f)
                if statement:
                    rank_zero_info(f"{self.owner}: {statement}.")
            if self._are_too_many(f, adapted):
                count = WIDE_EXAMPLES * self.options.rotate
        if count < len(examples) and check:
            rank_zero_info(
                f"{type(module).__name__} is nowhere narrower than its {adapted[0].numel()} inputs, so that "
                f"measuring is slower: {count} examples are tracked; set max_examples to track more."
            )
        return count

    def _put_in_order(self, places: Tensor, names: Tensor) -> Tensor:
        """Order rows as they came by; those that a resumed run has looked for are in their old order, before others."""
        wanted = self._reservoir.wanted
        places = places.sort().values
        if not len(wanted):
            return places
        rank = {name: rank for rank, name in enumerate(wanted.tolist())}
        ranks = [rank.get(int(names[place]) + NAMES, len(rank)) for place in places]
        return places[torch.tensor(ranks).argsort(stable=True)]

    def _gather(self) -> Sample | None:
        """Return the sample of the rows of all processes, and note whether it is complete."""
        own = (self._reservoir.take(), self._is_complete or self._reservoir.seen >= MOST_SEEN)
        found = gather_objects(own)
        self._is_complete = all(is_complete for _, is_complete in found)
        return found[0][0] if len(found) == 1 else join_samples([sample for sample, _ in found], self.most, POOL)

    def _are_too_many(self, f: nn.Module, examples: Tensor) -> bool:
        """Tell whether the default number of examples costs too much, because the leading eigenvalues need products."""
        if self.options.examples is not None or self.options.max_examples is not None:
            return False
        many = len(examples) > WIDE_EXAMPLES * self.options.rotate
        return many and Jacobians(f, examples, None, LARGEST_JACOBIAN_BYTES).method == "arnoldi"

    # Which examples are measured next ---------------------------------------------------------------------------------

    def take_all(self) -> Tensor:
        """Return all examples."""
        examples = self.get()
        self.chosen = torch.arange(len(examples))
        return examples

    def take_turn(self, *, closing: bool) -> Tensor:
        """Return the examples of a measurement: one subset after another, all of them at the end of a run."""
        examples = self.take_all()
        # Whether two examples share a limit cannot be seen of one: a subset has at least two.
        subsets = self.options.rotate
        self.whole = closing or subsets == 1 or len(examples) < 2 * subsets
        if not self.whole:
            self.chosen = self.chosen[self.turn % subsets :: subsets]
        self.turn += 1
        return examples[self.chosen]

    def describe(self) -> str:
        """Say how many examples are tracked, and of which rows where these are not all."""
        known = self.options.examples is not None or self.examples is not None
        count = f"{len(self.get()) if known else 0} examples"
        return count if self.are_known else f"{count} of the rows that came by before the first epoch ended"

    # What is kept -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return turn and sample in plain numbers and tensors; rows that are too large are kept by their names."""
        state = {"turn": self.turn, "whole": self.whole}
        if self.options.examples is not None or (self.examples is None and not self.are_found):
            return state
        if self.are_known:
            is_kept = self.get().numel() <= KEPT
            return state if is_kept else state | {"wanted": self._names % NAMES}
        sample = self._gather()
        if sample is None:
            return state | {"wanted": self._reservoir.wanted}
        kept = sample.lowest(KEPT // max(sample.rows[0].numel(), 1))
        if len(kept.names) < min(self.most, len(sample.names)):
            return state | {"wanted": sample.names[: self.most] % NAMES}
        seen = {"seen": self._reservoir.seen, "last_new": self._reservoir.last_new}
        return state | seen | {"sample": tuple(kept), "complete": self._is_complete}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of the run that is resumed, but for the examples themselves."""
        self.turn = state["turn"]
        self.whole = state["whole"]
        self._names = state.get("wanted", self._names)
        if "sample" in state:
            self._reservoir.insert(Sample(*state["sample"]))
            self._reservoir.seen = state["seen"]
            self._reservoir.last_new = state.get("last_new", state["seen"])
            self._is_complete = state.get("complete", False)

    def look_for_rows(self) -> None:
        """Look in the batches for the rows that a checkpoint names without holding them."""
        if self.examples is None and len(self._names):
            self._begin_sample(self._names)
