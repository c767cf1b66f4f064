"""A configuration and the command line, as model, data and Trainer."""

from argparse import ArgumentError
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from pydantic import ValidationError
from torch import Tensor

from memzoo.callbacks import AttractorCallback, KeepGenerators
from memzoo.callbacks.keep_last import LAST, KeepLast
from memzoo.callbacks.starting import StartingCallback
from memzoo.callbacks.tracked import matching_noise
from memzoo.data import ImageData
from memzoo.errors import MemzooError
from memzoo.fitting.course import LossCourse
from memzoo.fitting.models import Model, build
from memzoo.fitting.usage import UsageError, explain, explain_fields
from memzoo.models import Autoencoder, Ensemble

DESCRIPTION = "Train an architecture on a few images from a configuration file, and watch what it memorizes."


class FitCLI(LightningCLI):
    """What ``memzoo fit`` takes: everything of Lightning's Trainer, and short names for what memzoo has.

    Raises:
        UsageError: Anything that is not there or does not fit.
    """

    model: Any
    datamodule: Any
    trainer: Trainer

    def __init__(self, argv: list[str]) -> None:
        try:
            super().__init__(
                args=argv,
                run=False,
                save_config_callback=None,
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                parser_kwargs={"prog": "memzoo fit", "description": DESCRIPTION, "exit_on_error": False},
            )
        except ArgumentError as error:
            raise UsageError(explain(error, self._settings())) from error
        except (MisconfigurationException, MemzooError, ValueError, TypeError, ImportError) as error:
            raise UsageError(explain(error, self._settings())) from error

    def _settings(self) -> list[str]:
        names = [action.dest for action in self.parser._actions]
        return [name for name in names if not name.endswith("help") and not name.startswith("print_")]

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Trainer, model and data."""
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.add_subclass_arguments(Model, "model", required=True, fail_untyped=False)
        parser.add_subclass_arguments(LightningDataModule, "data", required=True, fail_untyped=False)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What concerns the run's folder."""
        parser.add_argument(
            "--out", type=str | None, default=None, help="folder of the run (default: runs/, named after the config)"
        )
        parser.add_argument("--resume", action="store_true", help="go on from last.ckpt in the folder, if it is there")
        parser.add_argument("--overwrite", action="store_true", help="replace an earlier run")
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="go on from this checkpoint instead")
        parser.add_argument("--save_every_n_epochs", type=int, default=1, help="write last.ckpt at these epochs")
        parser.add_argument("--save_every_n_steps", type=int | None, default=None, help="and at these steps")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """From the list, whatever ``sys.argv`` is."""
        self.config = parser.parse_args(args)
        for name in ("save_every_n_epochs", "save_every_n_steps"):
            if self.config[name] is not None and self.config[name] < 1:
                raise UsageError(f"{name} must be at least 1, got {self.config[name]}.")
        if self.config.out is None:
            files = self.config.config or []
            self.config.out = str(Path("runs") / (Path(str(files[-1])).stem if files else _class_name(self.config)))
        self.folder = Path(self.config.out)

    def instantiate_classes(self) -> None:
        """Data, model, Trainer."""
        self.config_init = self.parser.instantiate(self.config, instantiators=[(_built, Model, True)])
        self.datamodule, self.model = self.config_init["data"], self.config_init["model"]
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **options: Any) -> Trainer:
        """The Trainer of the configuration, with what makes a run measured and resumable."""
        given = {**self.config_init["trainer"], **options}
        endless = given["max_steps"] == -1 and given["max_epochs"] is None and given["max_time"] is None
        if isinstance(self.model, Autoencoder) and endless:
            given["max_steps"] = self.model.training_config.steps
        if given["default_root_dir"] is None:
            given["default_root_dir"] = self.folder
        callbacks = given["callbacks"] or []
        callbacks = [*callbacks] if isinstance(callbacks, list) else [callbacks]
        kinds = {type(callback) for callback in callbacks}
        if AttractorCallback not in kinds and not isinstance(self.model, Ensemble):
            callbacks.append(AttractorCallback(verbose=False))
        callbacks += [kind() for kind in (LossCourse, KeepGenerators) if kind not in kinds]
        if given["enable_checkpointing"] is not False:
            callbacks.append(KeepLast(self.folder, self.config.save_every_n_epochs, self.config.save_every_n_steps))
        elif any(isinstance(callback, Checkpoint) for callback in callbacks):
            raise UsageError("trainer.callbacks save checkpoints, and trainer.enable_checkpointing is off.")
        if isinstance(self.datamodule, ImageData):
            for callback in callbacks:
                _start_from_held_out(callback, self.datamodule, self.model)
        return Trainer(**{**given, "callbacks": callbacks})

    @property
    def checkpoint(self) -> Path | None:
        """What to go on from."""
        if self.config.ckpt_path not in (None, "last"):
            return Path(self.config.ckpt_path)
        last = self.folder / LAST
        return last if (self.config.resume or self.config.ckpt_path) and last.is_file() else None

    @property
    def watch(self) -> AttractorCallback | None:
        """The callback that measures."""
        callbacks: list[Any] = self.trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        return next((callback for callback in callbacks if isinstance(callback, AttractorCallback)), None)

    def write_config(self) -> None:
        """The whole configuration beside the weights; ``memzoo fit --config`` takes it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = self.config.clone()
        kept.resume, kept.overwrite, kept.ckpt_path = False, False, None
        kept.pop("config", None)
        text = self.parser.dump(kept)
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")


def _class_name(config: Any) -> str:
    return config.model["class_path"].rpartition(".")[2].lower()


def _built(class_type: type, *_: Any, **fields: Any) -> Any:
    try:
        return build(class_type, **fields)
    except ValidationError as error:
        raise UsageError(explain_fields(class_type.__name__, error)) from error


def _start_from_held_out(callback: Any, data: ImageData, model: Any) -> None:
    """Iterate from the held-out images where the configuration names no starts: these networks do not validate."""
    if not isinstance(callback, StartingCallback) or callback.given_starts not in (None, "validation"):
        return
    asked, seed = callback.given_starts, callback.seed

    def starts(examples: Tensor) -> Tensor:
        most = callback.most_starts(model, examples)
        if data.probes is not None and data.probes.shape[1:] == examples.shape[1:]:
            return data.probes[:most]
        if asked == "validation":
            raise ValueError("starts='validation' needs held-out images of the examples' shape, and there are none.")
        return matching_noise(examples, most, torch.Generator().manual_seed(seed))

    callback.given_starts = starts
