"""Which checkpoints or figures a command works on: one that is named, or all."""

import sys

import memzoo
from memzoo.errors import CheckpointMissingError, RegistryError, UsageError


def check_choice(one: str | None, everything: bool) -> None:
    """Check that one thing is named, or all are asked for.

    Raises:
        UsageError: Both were asked for, or neither.
    """
    if (one is None) != everything:
        raise UsageError("give one name, or --all; see --help.")


def choose(one: str | None, everything: bool, names: list[str]) -> list[str]:
    """Return the one name, or all of them.

    Raises:
        UsageError: Both were asked for, or neither.
    """
    check_choice(one, everything)
    return names if everything else [one or ""]


def choose_available(one: str | None, everything: bool) -> list[str]:
    """Return the names to work on: one name, or all whose files are in this installation or on the Hub.

    An entry that does not follow the schema is among them, so that its error is reported when its turn comes.

    Raises:
        UsageError: One and all were asked for, or neither.
        CheckpointMissingError: All were asked for, and there are none.
    """
    names = choose(one, everything, memzoo.list_models())
    if not everything:
        return names
    absent = [name for name in names if _is_absent(name)]
    if len(absent) == len(names):
        raise CheckpointMissingError(
            f"none of the {len(names)} checkpoints of the registry is in this installation or on the Hub, so there is "
            "nothing to do; make one with memzoo train ID."
        )
    if absent:
        print(
            f"memzoo: {len(absent)} checkpoints of the registry are neither in this installation nor on the Hub, and "
            f"are left out: {', '.join(absent)}.",
            file=sys.stderr,
        )
    return [name for name in names if name not in absent]


def _is_absent(name: str) -> bool:
    """Tell whether the files of a checkpoint are nowhere; False if its entry is broken, which is reported later."""
    from memzoo.zoo import is_available  # imports torch

    try:
        return not is_available(name)
    except RegistryError:
        return False
