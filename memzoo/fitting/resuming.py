"""Compare the settings of a run with those with which it began: what is recorded is what was done."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from memzoo.errors import UsageError

SETTINGS = "config.yaml"
OF_ONE_CALL = ("config", "resume", "overwrite", "ckpt_path")
"""Settings that concern one call, and would change a later run."""
FREE = {"out", "save_every_n_epochs", "save_every_n_steps"}
"""Settings that do not change what is computed."""
FREE_OF_TRAINER = {
    *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time"),
    *("logger", "log_every_n_steps", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"),
    *("default_root_dir", "profiler", "detect_anomaly", "accelerator", "plugins", "callbacks"),
}
"""Arguments of the Trainer that a resumed run may change: how long, on what machine, what is watched and shown."""
MOST_NAMED = 5


def dump_settings(parser: ArgumentParser, config: Namespace) -> str:
    """Return the settings of a run as YAML, without those that concern one call."""
    kept = config.clone()
    kept.resume = False
    kept.overwrite = False
    kept.ckpt_path = None
    kept.pop("config", None)
    return parser.dump(kept)


def adopt_seed(parser: ArgumentParser, config: Namespace, folder: Path) -> None:
    """Take the seed with which the run began, unless the configuration asks for another one.

    The checkpoint brings the states of all generators; the seed alone is recorded.
    """
    given = config.seed_everything
    is_default = given is not False and given == parser.get_default("seed_everything")
    if (given is True or is_default) and (folder / SETTINGS).is_file():
        settings = None
        with suppress(yaml.YAMLError, ValueError, RecursionError):  # refused when they are compared
            settings = yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8"))
        if isinstance(settings, dict):
            config.seed_everything = settings.get("seed_everything", given)


def refuse_other_settings(parser: ArgumentParser, config: Namespace, path: Path, *, model_alone: bool) -> None:
    """Raise if a run began with other settings than those with which it is to go on.

    Args:
        parser: Parser of the settings.
        config: Settings of now.
        path: Checkpoint to go on from. The settings with which it was made lie beside it; nothing is compared if they
            do not.
        model_alone: Whether only the model must be the same, as when a checkpoint is named from which to go on.

    Raises:
        UsageError: A setting that changes what is computed is another one; the message names it and both values.
    """
    record = path.with_name(SETTINGS)
    if not record.is_file():
        return
    before = _flatten(_complete(parser, record))
    now = _flatten(yaml.safe_load(dump_settings(parser, config)))
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    names = [name for name in names if not _is_free(name, now) and (not model_alone or name.startswith("model."))]
    if names:
        changes = [f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in names[:MOST_NAMED]]
        more = f", and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        raise UsageError(
            f"{path} belongs to a run with other settings: {', '.join(changes)}{more}. Go on with the settings in "
            f"{record}, of which only the length of the run may change, or begin another run with --out."
        )


def _is_free(name: str, now: dict[str, Any]) -> bool:
    """Tell whether a resumed run may change this setting."""
    first, _, rest = name.partition(".")
    if first == "trainer":
        return rest.partition(".")[0] in FREE_OF_TRAINER
    # Without a schedule, the steps of a recipe are the length of the run and nothing else.
    training = "model.init_args.training"
    return first in FREE or (name == f"{training}.steps" and now.get(f"{training}.schedule") == "constant")


def _complete(parser: ArgumentParser, record: Path) -> Any:
    """Read the settings of a run, and complete those that an earlier version did not know."""
    try:
        return yaml.safe_load(dump_settings(parser, parser.parse_path(str(record))))
    except Exception as error:  # whatever the parser, or a class that the settings name, raises
        raise UsageError(
            f"{record}, the settings of the run, cannot be read: {' '.join(str(error).split())} Restore the file, or "
            "remove it to go on without a comparison."
        ) from error


def _flatten(settings: Any, name: str = "") -> dict[str, Any]:
    """Return the values of nested settings by their names with points."""
    if not isinstance(settings, dict) or not settings:
        return {name: settings}
    inner = (_flatten(value, f"{name}.{key}" if name else str(key)) for key, value in settings.items())
    return {key: value for values in inner for key, value in values.items()}
