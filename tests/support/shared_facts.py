"""What is measured of networks is measured once in a run of the tests, and shared by all of its tests and processes.

A fact, and a result from which several facts follow, depends on the network, its images and the code alone. Within one
run the code is the same, so what one test has measured holds for every other test that meets the same network: the
facts of checkpoints, the figures that show them, the same network made again from its recipe, and the command line of
an installed wheel.
"""

import hashlib
import inspect
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from filelock import FileLock
from torch import Tensor

from memzoo.zoo.measures.facts import MEASURES, OF_THE_WHOLE
from memzoo.zoo.measures.measurements import Measurements, remember

_digests: WeakKeyDictionary[Measurements, str] = WeakKeyDictionary()


@contextmanager
def sharing(folder: Path) -> Iterator[None]:
    """Share by ``folder`` all that is measured: take it from there, or put it there."""
    measures = dict(MEASURES)
    methods = _list_remembered()
    install(folder)
    try:
        yield
    finally:
        MEASURES.update(measures)
        for name, method in methods.items():
            setattr(Measurements, name, method)


def install(folder: Path) -> None:
    """Share what this process measures, until it ends."""
    # Never one within another, where both would wait: what was shared already is unwrapped.
    for name, measure in list(MEASURES.items()):
        MEASURES[name] = _share(inspect.unwrap(measure), folder)
    for name, method in _list_remembered().items():
        setattr(Measurements, name, remember(_share(inspect.unwrap(method), folder)))


def _list_remembered() -> dict[str, Callable[..., Any]]:
    """List the methods of measurements that remember their results."""
    return {name: value for name, value in vars(Measurements).items() if hasattr(value, "__wrapped__")}


def _share(compute: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    @wraps(compute)  # the signature too: entries are checked against it
    def look_up(measurements: Measurements, *args: Any, **kwargs: Any) -> Any:
        question = f"{_digest(measurements)} {compute.__qualname__} {args} {sorted(kwargs.items())}"
        if compute.__name__ in OF_THE_WHOLE:
            question += _hash_tensor("whole", measurements.whole)
        path = folder / f"{hashlib.sha256(question.encode()).hexdigest()[:32]}.pickle"
        with FileLock(path.with_suffix(".lock")):  # a process that needs the same waits for it
            if not path.is_file():
                value = pickle.dumps(compute(measurements, *args, **kwargs))
                aside = path.with_suffix(f".{os.getpid()}")
                aside.write_bytes(value)
                # a rename is atomic: no process reads half of it
                aside.replace(path)
            return pickle.loads(path.read_bytes())

    return look_up


def _digest(measurements: Measurements) -> str:
    """Hash all that most results may depend on: architecture, configuration, weights, images that travel with it."""
    if measurements not in _digests:
        model = measurements.model
        about = f"{type(model).__name__} {model.config.model_dump_json()}"
        tensors = {**model.state_dict(), "x": measurements.examples, "z": measurements.probes}
        _digests[measurements] = about + "".join(
            _hash_tensor(name, value) for name, value in tensors.items() if isinstance(value, Tensor)
        )
    return _digests[measurements]


def _hash_tensor(name: str, tensor: Tensor) -> str:
    content = tensor.detach().cpu().contiguous().numpy().tobytes()
    return f" {name} {tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(content).hexdigest()}"
