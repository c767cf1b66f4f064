"""Options of Lightning's Trainer on the command line: ``--trainer.devices 2 --trainer.strategy ddp``."""

from typing import Any

from lightning.pytorch import Trainer


class TrainerOptionError(ValueError):
    """An option that the Trainer does not have, or a value that it does not take."""


def trainer_options(arguments: list[str]) -> dict[str, Any]:
    """Keyword arguments of the Trainer from a command line; loggers and callbacks by class path.

    Example:
        >>> trainer_options(["--trainer.devices", "2", "--trainer.strategy=ddp"])
        {'devices': '2', 'strategy': 'ddp'}
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Trainer, "trainer", instantiate=False, sub_configs=True)
    try:
        given = parser.parse_args(arguments, defaults=False)
        made = parser.instantiate(given)
    except (ArgumentError, ValueError, TypeError) as error:
        raise TrainerOptionError(f"not an option of the Trainer: {error}") from error
    return dict(made["trainer"]) if "trainer" in made else {}
