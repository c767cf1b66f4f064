"""Carry what callbacks have found in processes that a Trainer launches back to the user's own callbacks.

With ``ddp_spawn``, ``ddp_fork`` and ``ddp_notebook`` a run happens in copies of the process. Lightning returns the
weights, the state of the Trainer and ``callback_metrics``; the callbacks of the main process stay as they were before.
"""

import multiprocessing
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from weakref import WeakValueDictionary

from lightning.pytorch import Trainer

ORIGIN = "_origin"
"""Attribute of a copy in a spawned process: the process and the address of the object that it is a copy of."""
DEPTH = 2
"""Levels of attributes of attributes that are sent one by one."""
_OBJECTS: WeakValueDictionary[int, "Launchable"] = WeakValueDictionary()


class Launchable:
    """An object whose attributes return from launched processes to the process that launched them."""

    def __new__(cls, *_arguments: Any, **_settings: Any) -> Self:
        """Make an object that can be found by its address."""
        made = super().__new__(cls)
        _OBJECTS[id(made)] = made
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Add to the state where it comes from."""
        return {**vars(self), ORIGIN: (os.getpid(), id(self))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Remember where the state comes from, if that is another process."""
        vars(self).update(state)
        if state[ORIGIN][0] == os.getpid():
            del vars(self)[ORIGIN]


def return_results(trainer: Trainer) -> None:
    """Let the attributes of callbacks return with the results, if the Trainer launches copies of its process."""
    launcher: Any = trainer.strategy.launcher
    collect: Callable[[Trainer], dict[str, Any]] | None = getattr(launcher, "get_extra_results", None)
    if collect is None or "get_extra_results" in vars(launcher):  # scripts start whole processes; or done before
        return

    def collect_all(trainer: Trainer) -> dict[str, Any]:
        callbacks = [one for one in trainer.callbacks if isinstance(one, Launchable)]  # pyright: ignore[reportAttributeAccessIssue]
        return {**collect(trainer), "memzoo": [_Parcel(callback) for callback in callbacks]}

    launcher.get_extra_results = collect_all


class _Parcel:
    """The attributes of an object; whoever unpickles it in the main process finds them in the original.

    They travel in a file, because the main process reads the queue of results only when the launched ones have ended,
    and a queue takes no more than some kilobytes before it is read.
    """

    def __init__(self, sender: Launchable) -> None:
        # A forked process has its objects at the addresses at which the main process has them.
        process, address = vars(sender).get(ORIGIN, (None, 0))
        launched_by = multiprocessing.parent_process()
        is_copy = launched_by is not None and launched_by.pid == process
        self._address = address if is_copy else id(sender)
        handle, self._path = tempfile.mkstemp(prefix="memzoo-", suffix=".pickle")
        with os.fdopen(handle, "wb") as file:
            pickle.dump(_pack(sender, DEPTH), file)

    def __reduce__(self) -> tuple[Any, ...]:
        return _deliver, (self._address, self._path)


def _deliver(address: int, path: str) -> None:
    """Give the attributes in a file to the object at an address, and remove the file."""
    content: dict[str, Any] = pickle.loads(Path(path).read_bytes())
    Path(path).unlink()
    receiver = _OBJECTS.get(address)
    if receiver is not None:
        _unpack(content, receiver)


def _pack(sender: object, depth: int) -> dict[str, Any]:
    """Return the attributes of an object as bytes; of those that cannot be sent whole, their own attributes."""
    content: dict[str, Any] = {}
    for name, value in vars(sender).items():
        try:
            content[name] = pickle.dumps(value)
        except Exception:  # a function that the user has given, for example: the original has it
            if depth and hasattr(value, "__dict__"):
                content[name] = _pack(value, depth - 1)
    return content


def _unpack(content: dict[str, Any], receiver: object) -> None:
    """Give an object the attributes that were packed."""
    for name, value in content.items():
        if isinstance(value, bytes) and name != ORIGIN:
            vars(receiver)[name] = pickle.loads(value)
        elif isinstance(value, dict) and name in vars(receiver):
            _unpack(value, vars(receiver)[name])
