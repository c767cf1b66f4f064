"""``memzoo train``: a checkpoint from its recipe."""

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from memzoo.cli.command import Command, CommandParser
from memzoo.errors import UsageError

if TYPE_CHECKING:  # imports torch
    from memzoo.zoo.recipes import Trained

OPTION = "--trainer."


def train_command(words: list[str]) -> Command:
    """Describe ``memzoo train``.

    Args:
        words: The words after ``train``. If one of them is an option of the Trainer, the Trainer's options are added to
            the parser, which imports torch.
    """
    text = "Train a checkpoint, or all of a figure, from the recipe."
    also = "--trainer.NAME VALUE is an option of Lightning's Trainer, e.g. --trainer.devices 2."
    parser = CommandParser(description=text, epilog=also)
    parser.add_argument(
        "id", type=str, help="a checkpoint, or a figure or table such as table2: all of its checkpoints"
    )
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder that receives ID/ (default: runs)")
    parser.add_argument("--seed", type=int, help="of the initial values (default: the recipe's)")
    parser.add_argument("--data", type=Path, help="where the dataset lies (default: the checkpoint's own images)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing folder")
    parser.add_argument("--record", type=Path, metavar="ROOT", help="then put it into the source tree at ROOT")
    given = [word for word in words if word.startswith(OPTION)]
    if given:
        _add_trainer(parser, given)

    def run(arguments: Namespace) -> int:
        return _train(arguments, parser.parser, words if given else None)

    return Command("train", text, parser, run)


def _add_trainer(parser: CommandParser, given: list[str]) -> None:
    """Add the arguments of Lightning's Trainer.

    Raises:
        UsageError: A given option is not an argument of the Trainer.
    """
    from lightning.pytorch import Trainer

    from memzoo.zoo.registry import did_you_mean

    known = list(inspect.signature(Trainer).parameters)
    for word in given:
        name = word.removeprefix(OPTION).partition("=")[0].partition(".")[0].removesuffix("+")
        if name not in known:
            near = did_you_mean(name, known, listed_by="memzoo fit --help")
            raise UsageError(f"--trainer.{name} is not an option of the Trainer. {near}")
        parser.options.append(word.partition("=")[0])
    parser.parser.add_class_arguments(Trainer, "trainer", instantiate=False, sub_configs=True)


def trainer_options(parser: ArgumentParser, words: list[str]) -> dict[str, Any]:
    """Return the arguments of the Trainer that the words give, without defaults; loggers and callbacks are new objects.

    Raises:
        UsageError: A value that the Trainer, or the class of a logger or callback, does not take.
    """
    try:
        given = parser.parse_args(words, defaults=False)
        return dict(parser.instantiate(given).trainer)
    except (ArgumentError, ValueError, TypeError) as error:
        raise UsageError(f"not an option of the Trainer: {' '.join(str(error).split())}") from error


def _train(arguments: Namespace, parser: ArgumentParser, words: list[str] | None) -> int:
    from memzoo.zoo import checkpoints_of

    ids = checkpoints_of(arguments.id)

    from memzoo.zoo.recipes import train_recipe

    status = 0
    for id in ids:
        if len(ids) > 1 and (arguments.out / id).exists() and not arguments.overwrite:
            print(f"{arguments.out / id} is there already, and is kept; --overwrite trains it again.")
            continue
        done = train_recipe(
            id,
            arguments.out,
            seed=arguments.seed,
            data_root=arguments.data,
            overwrite=arguments.overwrite,
            **({} if words is None else trainer_options(parser, words)),
        )
        if done.rows is None:
            continue  # another process of a distributed run writes
        print(f"wrote {done.folder}; load it with memzoo.load('local-dir:{done.folder}')")
        for row in done.rows:
            print(f"  {row}", flush=True)
        reached = all(row.holds for row in done.rows)
        recorded = arguments.record is None or _record(id, done, arguments.record, reached=reached)
        status = max(status, 0 if reached and recorded else 1)
    return status


def _record(id: str, done: "Trained", root: Path, *, reached: bool) -> bool:
    """Put a trained folder into a source tree if it is what the recipe says; return whether it was."""
    from memzoo.zoo import record

    if not reached:
        print(f"memzoo: {id} is not recorded, a required bound is not met.", file=sys.stderr)
        return False
    if done.deviations:
        print(
            f"memzoo: {id} is not recorded, trained with other Trainer options than the recipe: "
            f"{', '.join(done.deviations)}.",
            file=sys.stderr,
        )
        return False
    record(done.folder, root)
    print(f"recorded {id} in {root / 'checkpoints.yaml'}")
    return True
