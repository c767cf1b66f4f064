"""The base of the callbacks that also iterate: from given starts, held-out images, or noise."""

import contextlib
from abc import ABC
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from memzoo._checks import check_batch, check_same_shape
from memzoo.callbacks.cost import MOST
from memzoo.callbacks.measuring import MeasuringCallback
from memzoo.callbacks.options import StartingOptions, Starts
from memzoo.callbacks.reporting import Row
from memzoo.callbacks.shards import Part, gather_objects
from memzoo.dynamics import nearest
from memzoo.errors import InvalidArgumentError
from memzoo.modules import (
    Reservoir,
    batch_of_first,
    count_loaders,
    draw_in_domain,
    input_of,
    join_samples,
    like_parameters,
)
from memzoo.runs import Run

Index = int | None
"""Place of a loader among several that are read one after another."""


class StartingCallback(MeasuringCallback, ABC):
    """Measure tracked examples while training, and iterate from starts."""

    given_starts: Starts | None
    max_starts: int | None
    seed: int

    def __init__(self, options: StartingOptions) -> None:
        self.given_starts = options.starts
        self.max_starts = options.max_starts
        self.seed = options.seed
        self.starts: Tensor | None = None
        super().__init__(options)

    def _forget(self) -> None:
        super()._forget()
        self.starts = None
        self._held_out = Reservoir(self._most_held_out)
        self._held_out_is_complete = False
        self._starts_are_final = False
        self._awaited = False

    # Rows of the validation -------------------------------------------------------------------------------------------

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: Index = None
    ) -> None:
        """Look at the rows that ``validation_step`` is given, from the first loader."""
        self._observe_held_out(trainer.val_dataloaders, batch, dataloader_idx)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: Index = None
    ) -> None:
        """Look at the rows that ``test_step`` is given, from the first loader."""
        self._observe_held_out(trainer.test_dataloaders, batch, dataloader_idx)

    def _observe_held_out(self, loaders: Any, batch: Any, dataloader_idx: int | None) -> None:
        if self._starts_are_final or self._held_out_is_complete or not self._takes_validation or dataloader_idx:
            return
        # Labels or whole numbers are no starts, and no error: nobody asked for validation images.
        with contextlib.suppress(TypeError, LookupError):
            # Without an index, several loaders give a batch together.
            is_joint = dataloader_idx is None and count_loaders(loaders) > 1
            self._held_out.add(input_of(batch_of_first(batch, loaders) if is_joint else batch))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure here if the run validates, so that monitors of the validation see the value."""
        self._held_out_is_complete |= not trainer.sanity_checking
        super().on_validation_epoch_end(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure in ``Trainer.test``."""
        self._held_out_is_complete = True
        super().on_test_epoch_end(trainer, pl_module)

    # Starts -----------------------------------------------------------------------------------------------------------

    @property
    def _most_held_out(self) -> int:
        return MOST if self.max_starts is None else self.max_starts

    @property
    def _takes_validation(self) -> bool:
        """Tell whether the starts are rows of the validation, if there are any."""
        return self.given_starts is None or (isinstance(self.given_starts, str) and self.given_starts == "validation")

    def _awaits_validation(self, run: Run) -> bool:
        """Tell whether a whole validation is still to come, of which starts are taken."""
        if self._starts_are_final or self._held_out_is_complete:
            return False
        return self._takes_validation and run.enable_validation

    def is_pending(self) -> bool:
        """Tell whether examples or starts may be others than at the last measurement."""
        return super().is_pending() or not self._starts_are_final

    def forget_others(self) -> None:
        """Forget the starts beside examples that have changed, unless these came from a checkpoint."""
        if not self._starts_are_final:
            self.starts = None

    def choose_others(self, run: Run, examples: Tensor) -> None:
        """Choose the starts; those that a checkpoint brought are kept."""
        if self._starts_are_final:
            return
        self._awaited = self._awaits_validation(run)
        self.starts = run.strategy.broadcast(self._choose_starts(run, examples).detach().cpu())
        self._starts_are_final = not self._tracked.pending and not self._awaited

    def _is_closed(self, run: Run, module: nn.Module) -> bool:
        """Tell whether the present state was measured, and not with noise where a validation has come since."""
        return self._awaited == self._awaits_validation(run) and super()._is_closed(run, module)

    def most_starts(self, module: nn.Module, examples: Tensor) -> int:
        """Return how many starts are taken, if they are not given.

        Raises:
            ValueError: The callback has no ``max_starts``.
        """
        if self.max_starts is None:
            raise InvalidArgumentError(
                f"{type(self).__name__} needs a number of starts if these are not given, got max_starts=None; pass "
                "max_starts=4, for example."
            )
        return self.max_starts

    def _choose_starts(self, run: Run, examples: Tensor) -> Tensor:
        """Return the starts that were asked for, else rows of the validation if there are any, else noise."""
        given = self.given_starts
        if isinstance(given, Tensor) or callable(given):
            starts = given if isinstance(given, Tensor) else given(examples)
            check_batch(starts, "starts")
            check_same_shape(starts, examples, "starts and examples")
            return starts
        most = self.most_starts(run.lightning_module, examples)
        held_out = self._select_held_out(examples, most) if self._takes_validation else None
        if held_out is not None:
            return held_out
        if given == "validation" and not self._awaits_validation(run):
            self._refuse(
                run, "starts='validation' needs a validation set of the examples' shape; give the Trainer one."
            )
        return draw_in_domain(examples, most, torch.Generator().manual_seed(self.seed))

    def _refuse(self, run: Run, message: str) -> None:
        """Raise before the first step; afterwards warn, so that no training is lost."""
        if run.global_step == 0 and not run.evaluating:
            raise InvalidArgumentError(message)
        rank_zero_warn(f"{message} Until then, iteration starts from noise.")

    def _select_held_out(self, examples: Tensor, most: int) -> Tensor | None:
        """Return rows of the validation other than the examples, None if there are none."""
        sample = join_samples(gather_objects(self._held_out.take()), self._most_held_out)
        if sample is None:
            return None
        found = sample.lowest(most).rows
        found = found[found.reshape(len(found), -1).isfinite().all(1)]
        if found.shape[1:] != examples.shape[1:] or not len(found):
            if self._held_out_is_complete:
                rank_zero_info("the validation set holds no images of the examples' shape: starts are noise.")
            return None
        # From a training example, iteration would recover that example by being there.
        others = found[nearest(found, examples.to(found)).distance > 0]
        if len(others) < len(found) and self._held_out_is_complete:
            rank_zero_info(
                f"{len(found) - len(others)} of {len(found)} validation images are tracked training examples: "
                f"iteration does not start there{'' if len(others) else ', but from noise'}."
            )
        return others if len(others) else None

    # What is measured -------------------------------------------------------------------------------------------------

    def measure(self, module: nn.Module) -> Row:
        """Measure ``module`` on all tracked examples and starts, in this process, and leave no trace on it.

        Raises:
            ValueError: No examples or starts were given, and no run has begun.
        """
        self._tracked.get()
        if self.starts is None:
            if not isinstance(self.given_starts, Tensor):
                raise InvalidArgumentError(
                    f"{type(self).__name__} has no starts yet: pass starts=tensor, or fit a module first."
                )
            self.starts = self.given_starts.detach().cpu()
        return super().measure(module)

    def try_examples(self, f: nn.Module, examples: Tensor) -> None:
        """Do what may fail at a single one of some examples, without the starts."""
        starts = self.starts
        self.starts = None if starts is None else starts[:0]
        try:
            super().try_examples(f, examples)
        finally:
            self.starts = starts

    def own_starts(self, f: nn.Module, examples: Tensor, part: Part) -> Tensor:
        """Return the starts of one process, in the space of ``f``."""
        assert self.starts is not None
        starts = like_parameters(self.starts, f).reshape(-1, *examples.shape[1:])
        return part.select(starts)

    # What is kept and shown -------------------------------------------------------------------------------------------

    def about(self) -> str:
        """Say what the values refer to."""
        starts = 0 if self.starts is None else len(self.starts)
        return f"{super().about()}, {starts} starts"

    def kept(self) -> dict[str, Tensor]:
        """Return examples and starts that did not come as arguments."""
        kept = super().kept()
        if self._starts_are_final and self.starts is not None and not isinstance(self.given_starts, Tensor):
            kept["starts"] = self.starts
        return kept

    def restore(self, kept: dict[str, Tensor]) -> None:
        """Take over the tensors that a checkpoint kept."""
        super().restore(kept)
        if "starts" in kept:
            self.starts = kept["starts"]
            self._starts_are_final = True
