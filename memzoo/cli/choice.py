"""Which checkpoints or figures a command works on: one that is named, or all."""

import sys

import memzoo
from memzoo.errors import CheckpointMissingError, UsageError


def choose(one: str | None, everything: bool, names: list[str]) -> list[str]:
    """Return the one name, or all of them.

    Raises:
        UsageError: Both were asked for, or neither.
    """
    if (one is None) != everything:
        raise UsageError("give one name, or --all; see --help.")
    return names if everything else [one or ""]


def choose_available(one: str | None, everything: bool) -> list[str]:
    """Return the names to work on; of all, those whose files are in this installation or on the Hub.

    Raises:
        UsageError: One and all were asked for, or neither.
        CheckpointMissingError: All were asked for, and there are none.
    """
    from memzoo.zoo import is_available

    names = choose(one, everything, memzoo.list_models())
    absent = [name for name in names if everything and not is_available(name)]
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
