"""Carry what callbacks have found in processes that a Trainer launches back to the user's own callbacks.

With ``ddp_spawn``, ``ddp_fork`` and ``ddp_notebook`` a run happens in copies of the process. Lightning returns the
weights, the state of the Trainer and ``callback_metrics``; the callbacks of the main process stay as they were before.
"""

import multiprocessing
import os
import pickle
from collections.abc import Callable
from typing import Any, Self
from weakref import WeakValueDictionary

from lightning.pytorch import Trainer

ORIGIN = "_origin"
"""Attribute of a copy in a spawned process: the process and the address of the object that it is a copy of."""
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
        """Remember where the state comes from, if that is the process that launched this one."""
        vars(self).update(state)
        parent = multiprocessing.parent_process()
        if parent is None or self.__dict__[ORIGIN][0] != parent.pid:
            del self.__dict__[ORIGIN]


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
    """The attributes of an object, as bytes; whoever unpickles it in the main process finds them in the original."""

    def __init__(self, sender: Launchable) -> None:
        # A forked process has its objects at the addresses at which the main process has them.
        self._address = vars(sender).get(ORIGIN, (0, id(sender)))[1]
        self._content: dict[str, bytes] = {}
        for name, value in vars(sender).items():
            try:
                self._content[name] = pickle.dumps(value)
            except Exception:  # a function that the user has given, for example: the original has it
                continue

    def __reduce__(self) -> tuple[Any, ...]:
        return _deliver, (self._address, self._content)


def _deliver(address: int, content: dict[str, bytes]) -> None:
    receiver = _OBJECTS.get(address)
    if receiver is not None:
        vars(receiver).update({name: pickle.loads(value) for name, value in content.items() if name != ORIGIN})
