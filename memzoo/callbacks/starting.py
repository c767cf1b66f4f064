"""What the callbacks share that iterate from starts: where these come from, and who iterates which."""

from abc import ABC
from collections.abc import Callable
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from memzoo._checks import check_batch, check_same_shape
from memzoo.callbacks.measuring import MeasuringCallback
from memzoo.callbacks.shards import Part
from memzoo.dynamics import nearest
from memzoo.errors import InvalidArgumentError
from memzoo.modules import Adapter, has_rows, like_parameters, matching_noise, rows

Starts = Tensor | Callable[[Tensor], Tensor] | Literal["validation", "noise"]
"""Points, ``starts(examples)`` that makes them, or where they come from."""


class StartingCallback(MeasuringCallback, ABC):
    """A measuring callback that also iterates: from given starts, held-out images, or noise."""

    max_starts: int | None
    seed: int

    def __init__(
        self,
        examples: Tensor | None,
        starts: Starts | None,
        *,
        self_map: Adapter | None,
        max_examples: int | None,
        rotate: int,
        max_starts: int | None,
        every_n_epochs: int | None,
        every_n_steps: int | None,
        budget: float,
        seed: int,
        verbose: bool,
        name: str,
    ) -> None:
        if max_starts is not None and max_starts < 1:
            raise InvalidArgumentError(f"max_starts must be at least 1, got {max_starts}.")
        if isinstance(starts, Tensor):
            check_batch(starts, "starts")
        elif starts is not None and not callable(starts) and starts not in ("validation", "noise"):
            raise InvalidArgumentError(f"starts must be a tensor, a function, 'validation' or 'noise', got {starts!r}.")
        self.given_starts, self.max_starts, self.seed = starts, max_starts, seed
        self.starts: Tensor | None = None
        super().__init__(
            examples,
            self_map=self_map,
            max_examples=max_examples,
            rotate=rotate,
            every_n_epochs=every_n_epochs,
            every_n_steps=every_n_steps,
            budget=budget,
            verbose=verbose,
            name=name,
        )

    def _forget(self) -> None:
        super()._forget()
        self.starts = None

    # Starts -----------------------------------------------------------------------------------------------------------

    def choose_others(self, trainer: Trainer, examples: Tensor) -> None:
        """Starts; those that a checkpoint brought are kept."""
        if self.starts is None:
            self.starts = trainer.strategy.broadcast(self._chosen_starts(trainer, examples).detach().cpu())

    def most_starts(self, module: nn.Module, examples: Tensor) -> int:
        """How many starts are taken, where they are not given."""
        assert self.max_starts is not None
        return self.max_starts

    def _chosen_starts(self, trainer: Trainer, examples: Tensor) -> Tensor:
        given = self.given_starts
        if isinstance(given, Tensor) or callable(given):
            starts = given if isinstance(given, Tensor) else given(examples)
            check_batch(starts, "starts")
            check_same_shape(starts, examples, "starts and examples")
            return starts
        if given != "noise" and (found := self._validation_rows(trainer, examples)) is not None:
            return found
        if given == "validation":
            raise InvalidArgumentError(
                "starts='validation' needs a validation set of the examples' shape; give the Trainer one."
            )
        most = self.most_starts(trainer.lightning_module, examples)
        return matching_noise(examples, most, torch.Generator().manual_seed(self.seed))

    def _validation_rows(self, trainer: Trainer, examples: Tensor) -> Tensor | None:
        """Validation images that are none of the examples, None where there are none."""
        loaders = _evaluation_loaders(trainer)
        if not has_rows(loaders):
            return None
        try:
            found = rows(loaders, self.most_starts(trainer.lightning_module, examples))
        except TypeError:
            return None
        if found.shape[1:] != examples.shape[1:] or not found.isfinite().all():
            rank_zero_info("the validation set holds no images of the examples' shape: starts are noise.")
            return None
        others = found[nearest(found, examples).distance > 0]
        if len(others) < len(found):
            rank_zero_info(
                f"{len(found) - len(others)} of {len(found)} validation images are tracked training examples: "
                f"iteration does not start there{'' if len(others) else ', but from noise'}."
            )
        return others if len(others) else None

    # What is measured -------------------------------------------------------------------------------------------------

    def measure(self, module: nn.Module) -> dict[str, float]:
        """One measurement of ``module`` on all tracked examples and starts, in this process; leaves no trace on it.

        Raises:
            ValueError: No examples or starts were given, and no run has begun.
        """
        self._tracked()
        if self.starts is None:
            if not isinstance(self.given_starts, Tensor):
                raise InvalidArgumentError(
                    f"{type(self).__name__} has no starts yet: pass starts=tensor, or fit a module first."
                )
            self.starts = self.given_starts.detach().cpu()
        return super().measure(module)

    def own_starts(self, f: nn.Module, examples: Tensor, part: Part) -> Tensor:
        """The starts of one process, in the space of ``f``."""
        assert self.starts is not None
        starts = like_parameters(self.starts, f).reshape(-1, *examples.shape[1:])
        return starts[part.index :: part.of]

    # What is kept -----------------------------------------------------------------------------------------------------

    def kept(self) -> dict[str, Tensor]:
        """Examples and starts that did not come as arguments."""
        own = {} if self.starts is None or isinstance(self.given_starts, Tensor) else {"starts": self.starts}
        return super().kept() | own

    def restore(self, kept: dict[str, Tensor]) -> None:
        """Take them back."""
        super().restore(kept)
        self.starts = kept.get("starts", self.starts)


def _evaluation_loaders(trainer: Trainer) -> Any:
    """Loaders of the validation, also where it comes later in the run; of the test in ``Trainer.test``."""
    if trainer.state.fn == "test":
        return trainer.test_dataloaders
    if trainer.val_dataloaders is None and trainer.state.fn == "fit" and trainer.enable_validation:
        trainer.validating = True  # as Lightning does it where the first epoch is validated
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
        trainer.training = True
    return trainer.val_dataloaders
