"""Turn a parsed configuration into model, data and Trainer."""

from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from memzoo.callbacks import AttractorCallback, KeepGenerators, StartingCallback
from memzoo.data import ImageData
from memzoo.errors import CheckpointMissingError, InvalidArgumentError, MemzooError, UsageError
from memzoo.fitting.course import LossCourse
from memzoo.fitting.resuming import SETTINGS, adopt_seed, dump_settings, refuse_other_settings
from memzoo.models import Autoencoder, Ensemble
from memzoo.modules import draw_in_domain
from memzoo.runs import KeepLast, check_checkpoint, find_last


class FitSetup:
    """Hold what a run needs: the model, the data and the Trainer that a configuration describes.

    Args:
        parser: The parser that :func:`memzoo.fitting.fit_parser` builds.
        config: The configuration that it parsed.

    Raises:
        UsageError: A class refuses its arguments.
    """

    def __init__(self, parser: ArgumentParser, config: Namespace) -> None:
        self.parser = parser
        self.config = config
        for name in ("save_every_n_epochs", "save_every_n_steps"):
            if config[name] is not None and config[name] < 1:
                raise UsageError(f"{name} must be at least 1, got {config[name]}.")
        if config.out is None:
            config.out = str(Path("runs") / _name_run(config))
        self.folder: Path = Path(config.out)
        self.checkpoint: Path | None = self._find_checkpoint()
        """The checkpoint to go on from; None at the beginning of a run."""
        if self.checkpoint is not None:
            named = config.ckpt_path not in (None, "last")
            if not named:
                adopt_seed(parser, config, self.folder)
            refuse_other_settings(parser, config, self.checkpoint, model_alone=named)
        _seed_generators(config)
        try:
            made = parser.instantiate(config)
            self.model: Any = made.model
            self.datamodule: Any = made.data
            self.trainer: Trainer = self._make_trainer(made.trainer)
        except UsageError:
            raise
        except (MisconfigurationException, MemzooError, ValueError, TypeError, ImportError) as error:
            raise UsageError(" ".join(str(error).split())) from error

    def _make_trainer(self, options: Namespace) -> Trainer:
        """Return the Trainer of the configuration, with what makes a run measured and resumable."""
        given = dict(options)
        endless = given["max_steps"] == -1 and given["max_epochs"] is None and given["max_time"] is None
        if isinstance(self.model, Autoencoder) and endless:
            given["max_steps"] = self.model.training_config.steps
        if given["default_root_dir"] is None:
            given["default_root_dir"] = self.folder
        given["callbacks"] = self._complete_callbacks(given)
        return Trainer(**given)

    def _complete_callbacks(self, given: dict[str, Any]) -> list[Any]:
        """Return the callbacks of the configuration, and those that every run has."""
        callbacks = given["callbacks"] or []
        callbacks = [*callbacks] if isinstance(callbacks, list) else [callbacks]
        kinds = {type(callback) for callback in callbacks}
        if AttractorCallback not in kinds and not isinstance(self.model, Ensemble):
            callbacks.append(AttractorCallback(verbose=False))
        callbacks += [kind() for kind in (LossCourse, KeepGenerators) if kind not in kinds]
        # Without last.ckpt a run can neither be resumed nor audited.
        if given["enable_checkpointing"] is not False:
            callbacks.append(KeepLast(self.folder, self.config.save_every_n_epochs, self.config.save_every_n_steps))
        elif any(isinstance(callback, Checkpoint) for callback in callbacks):
            raise UsageError("trainer.callbacks save checkpoints, and trainer.enable_checkpointing is off.")
        if isinstance(self.datamodule, ImageData):
            for callback in callbacks:
                _start_from_held_out(callback, self.datamodule, self.model)
        return callbacks

    def _find_checkpoint(self) -> Path | None:
        """Find the checkpoint to go on from, None at the beginning of a run.

        Raises:
            CheckpointMissingError: There is no such file.
            CorruptCheckpointError: It is damaged, and there is none before it.
        """
        named = self.config.ckpt_path
        if named not in (None, "last"):
            if not Path(named).is_file():
                raise CheckpointMissingError(f"no checkpoint at {named}; give a .ckpt file to go on from.")
            check_checkpoint(Path(named))
            return Path(named)
        return find_last(self.folder) if self.config.resume or named else None

    @property
    def watch(self) -> AttractorCallback | None:
        """Return the callback that measures, None if there is none."""
        callbacks: list[Any] = self.trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        return next((callback for callback in callbacks if isinstance(callback, AttractorCallback)), None)

    def write_config(self) -> None:
        """Write the whole configuration beside the weights; ``memzoo fit --config`` takes it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{SETTINGS}.part"
        part.write_text(dump_settings(self.parser, self.config), encoding="utf-8")
        part.replace(self.folder / SETTINGS)


def _name_run(config: Namespace) -> str:
    """Return the name of the last configuration file, else that of the model's class."""
    files = config.config or []
    return Path(str(files[-1])).stem if files else config.model["class_path"].rpartition(".")[2].lower()


def _seed_generators(config: Namespace) -> None:
    """Seed all generators, and those of the data loaders' processes; note the seed that was drawn."""
    if config.seed_everything is not False:
        given = None if config.seed_everything is True else config.seed_everything
        config.seed_everything = seed_everything(given, workers=True)


def _start_from_held_out(callback: Any, data: ImageData, model: Any) -> None:
    """Let a callback iterate from the held-out images if the configuration names no starts.

    The networks of memzoo do not validate, so that Lightning gives the callback no validation images.
    """
    if not isinstance(callback, StartingCallback) or callback.given_starts not in (None, "validation"):
        return
    # Read now: the function below takes the place of ``given_starts``.
    asked = callback.given_starts
    seed = callback.seed

    def choose_starts(examples: Tensor) -> Tensor:
        """Return held-out images of the shape of the examples, else noise."""
        most = callback.most_starts(model, examples)
        if data.probes is not None and data.probes.shape[1:] == examples.shape[1:]:
            return data.probes[:most]
        if asked == "validation":
            raise InvalidArgumentError(
                "starts='validation' needs held-out images of the examples' shape, and there are none."
            )
        return draw_in_domain(examples, most, torch.Generator().manual_seed(seed))

    callback.given_starts = choose_starts
