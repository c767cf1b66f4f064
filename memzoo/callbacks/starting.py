"""The base of the callbacks that also iterate: from given starts, held-out images, or noise."""

from abc import ABC
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from memzoo._checks import check_batch, check_same_shape
from memzoo.callbacks.measuring import MeasuringCallback
from memzoo.callbacks.options import StartingOptions, Starts
from memzoo.callbacks.reporting import Row
from memzoo.callbacks.shards import Part
from memzoo.dynamics import nearest
from memzoo.errors import InvalidArgumentError
from memzoo.modules import has_rows, like_parameters, matching_noise, read_rows


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

    # Starts -----------------------------------------------------------------------------------------------------------

    def choose_others(self, trainer: Trainer, examples: Tensor) -> None:
        """Choose the starts; those that a checkpoint brought are kept."""
        if self.starts is None:
            self.starts = trainer.strategy.broadcast(self._choose_starts(trainer, examples).detach().cpu())

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

    def _choose_starts(self, trainer: Trainer, examples: Tensor) -> Tensor:
        """Return the starts that were asked for, else validation images if there are any, else noise."""
        given = self.given_starts
        if isinstance(given, Tensor) or callable(given):
            starts = given if isinstance(given, Tensor) else given(examples)
            check_batch(starts, "starts")
            check_same_shape(starts, examples, "starts and examples")
            return starts
        if given != "noise":
            held_out = self._read_validation(trainer, examples)
            if held_out is not None:
                return held_out
        if given == "validation":
            raise InvalidArgumentError(
                "starts='validation' needs a validation set of the examples' shape; give the Trainer one."
            )
        most = self.most_starts(trainer.lightning_module, examples)
        return matching_noise(examples, most, torch.Generator().manual_seed(self.seed))

    def _read_validation(self, trainer: Trainer, examples: Tensor) -> Tensor | None:
        """Return validation images other than the examples, None if there are none."""
        loaders = _find_evaluation_loaders(trainer)
        if not has_rows(loaders):
            return None
        # Labels or whole numbers are no starts, and no error: nobody asked for validation images.
        try:
            found = read_rows(loaders, self.most_starts(trainer.lightning_module, examples))
        except TypeError:
            return None
        if found.shape[1:] != examples.shape[1:] or not found.isfinite().all():
            rank_zero_info("the validation set holds no images of the examples' shape: starts are noise.")
            return None
        # From a training example, iteration would recover that example by being there.
        others = found[nearest(found, examples).distance > 0]
        if len(others) < len(found):
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
        if self.starts is not None and not isinstance(self.given_starts, Tensor):
            kept["starts"] = self.starts
        return kept

    def restore(self, kept: dict[str, Tensor]) -> None:
        """Take over the tensors that a checkpoint kept."""
        super().restore(kept)
        self.starts = kept.get("starts", self.starts)


def _find_evaluation_loaders(trainer: Trainer) -> Any:
    """Return the loaders of the validation, also if it comes later in the run; of the test in ``Trainer.test``."""
    if trainer.state.fn == "test":
        return trainer.test_dataloaders
    if trainer.val_dataloaders is None and trainer.state.fn == "fit" and trainer.enable_validation:
        trainer.validating = True  # as Lightning does it if the first epoch is validated
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
        trainer.training = True
    return trainer.val_dataloaders
