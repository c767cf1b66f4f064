"""The tracked examples: given, read from the training data, or taken from a stream; all of them, or subsets in turn."""

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from memzoo._checks import check_batch, check_map
from memzoo._generators import keep_generators_unchanged
from memzoo.callbacks.options import MeasuringOptions
from memzoo.dynamics.spectra import Jacobians
from memzoo.dynamics.tracing import promote_to_float64
from memzoo.errors import InvalidArgumentError, InvalidTypeError
from memzoo.modules import (
    evaluation_mode,
    find_self_map,
    has_rows,
    input_of,
    like_parameters,
    read_rows,
)

EXAMPLES = 32
"""Number of examples that are tracked by default."""
WIDE_EXAMPLES = 8
"""The same for a large map that is nowhere narrower than its input."""
LARGEST_JACOBIAN_BYTES = 2**30


class TrackedExamples:
    """Choose the examples that a callback tracks, and those of them that it measures next.

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
        self._stream_batches: list[Tensor] | None = None
        self._known: Tensor | None = None
        if self.options.examples is None:
            self.examples = None

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
        """Derive a value for each tracked example from all rows that were read to choose these.

        Args:
            derive: Function that returns one value for each of many rows, and is given all of them.
        """
        examples = self.get()
        if self._known is None:
            return derive(examples)
        return derive(self._known)[self._places]

    # Which examples are tracked ---------------------------------------------------------------------------------------

    @property
    def most(self) -> int:
        """Return the largest number of examples that are read from data."""
        return (self.options.max_examples or EXAMPLES) * self.options.rotate

    def choose(self, trainer: Trainer, module: LightningModule) -> None:
        """Choose the examples, the same ones in all processes, and check that the module maps them to their own shape.

        Raises:
            NotASelfMapError: The module maps them to another shape, or has two answers to one of them.
            TypeError: The training data hold no floating-point tensors.
        """
        # Each process may read other rows, of data that augment at random for example: all take those of rank 0.
        known = trainer.strategy.broadcast(self._read(trainer).detach().cpu())
        check_batch(known, "the tracked examples")
        # A stream may have brought more rows than are tracked.
        places = torch.arange(len(known) if self._stream_batches is None else min(len(known), self.most))
        examples = known[places]
        with evaluation_mode(module):
            f, adapted = find_self_map(module, self.options.self_map, like_parameters(examples, module))
            check_map(f, adapted, promote_to_float64)
            too_many = self._are_too_many(f, adapted)
        if too_many:
            places = places[:: math.ceil(len(examples) / (WIDE_EXAMPLES * self.options.rotate))]
            examples = known[places]
            rank_zero_info(
                f"{type(module).__name__} is nowhere narrower than its {adapted[0].numel()} inputs, so that "
                f"measuring is slower: {len(examples)} examples are tracked; set max_examples to track more."
            )
        self.examples = examples
        self._known = known
        self._places = places
        self._stream_batches = None

    def _read(self, trainer: Trainer) -> Tensor:
        """Return the examples of a resumed run, those that were given, or those of the training data."""
        # Examples that a checkpoint brought come first: a resumed run goes on with these.
        known = self.options.examples if self.examples is None else self.examples
        if known is not None:
            return known
        try:
            if self._stream_batches is not None:
                return torch.cat(self._stream_batches)
            return read_rows(trainer.train_dataloader, self.most, batches=trainer.num_training_batches)
        except (TypeError, IndexError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> InvalidTypeError:
        return InvalidTypeError(f"{self.owner} could not read the tracked examples: {error}")

    def _are_too_many(self, f: nn.Module, examples: Tensor) -> bool:
        """Tell whether the default number of examples costs too much, because the leading eigenvalues need products."""
        if self.options.examples is not None or self.options.max_examples is not None:
            return False
        many = len(examples) > WIDE_EXAMPLES * self.options.rotate
        return many and Jacobians(f, examples, None, LARGEST_JACOBIAN_BYTES).method == "arnoldi"

    # Streams ----------------------------------------------------------------------------------------------------------

    def waits_for_stream(self, trainer: Trainer) -> bool:
        """Tell whether the examples are the first ones of a stream, and begin to collect its batches."""
        known = self.examples is not None or self.options.examples is not None
        if known or has_rows(trainer.train_dataloader):
            return False
        self._stream_batches = []
        return True

    def take_batch(self, trainer: Trainer, module: LightningModule, batch: Any) -> bool:
        """Take the examples of a stream's batch before anything changes them, and tell whether these are enough.

        Raises:
            NotASelfMapError: The module maps the first batch to another shape.
            TypeError: The batch holds no floating-point tensor.
        """
        if self._stream_batches is None:
            return False
        try:
            self._stream_batches.append(input_of(batch).detach().cpu().clone())
        except TypeError as error:
            raise self._unreadable(error) from error
        # A module that is no self-map is refused at once, and not when enough batches have come.
        if len(self._stream_batches) == 1:
            with evaluation_mode(module), keep_generators_unchanged():
                find_self_map(module, self.options.self_map, like_parameters(self._stream_batches[0], module))
        enough = sum(map(len, self._stream_batches)) >= self.most
        # batches may differ in size between processes, and all processes must choose together
        return trainer.strategy.reduce_boolean_decision(enough)

    @property
    def stream_ended_early(self) -> bool:
        """Tell whether batches were collected, at an epoch's end, but fewer examples than were asked for."""
        return bool(self._stream_batches)

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
