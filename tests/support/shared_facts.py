"""Facts of networks measured once in a run of the tests, and shared by all of its tests and processes.

A fact depends on the network, its images and the code alone. Within one run the code is the same, so what one test has
measured holds for every other test that meets the same network: the facts of checkpoints, the figures that show them,
and the command line of an installed wheel.
"""

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from weakref import WeakKeyDictionary

from filelock import FileLock
from torch import Tensor

from memzoo.zoo.measures.facts import MEASURES
from memzoo.zoo.measures.measurements import Measurements

Measure = Callable[..., float]

_digests: WeakKeyDictionary[Measurements, str] = WeakKeyDictionary()


@contextmanager
def sharing(folder: Path) -> Iterator[None]:
    """Share every measured fact by ``folder``: take its value from there, or put it there."""
    measures = dict(MEASURES)
    install(folder)
    try:
        yield
    finally:
        MEASURES.update(measures)


def install(folder: Path) -> None:
    """Share the facts that this process measures, until it ends."""
    for name, measure in list(MEASURES.items()):
        MEASURES[name] = _share(inspect.unwrap(measure), folder)  # never one within another: both would wait


def _share(measure: Measure, folder: Path) -> Measure:
    @wraps(measure)  # the signature too: entries are checked against it
    def look_up(measurements: Measurements, **arguments: float) -> float:
        question = f"{_digest(measurements)} {measure.__name__} {json.dumps(arguments, sort_keys=True)}"
        path = folder / f"{hashlib.sha256(question.encode()).hexdigest()[:32]}.json"
        with FileLock(path.with_suffix(".lock")):  # a process that needs the same fact waits for it
            if not path.is_file():
                value = json.dumps(measure(measurements, **arguments))
                aside = path.with_suffix(f".{os.getpid()}")
                aside.write_text(value)
                # a rename is atomic: no process reads half a number
                aside.replace(path)
            return json.loads(path.read_text())

    return look_up


def _digest(measurements: Measurements) -> str:
    """Hash all that a fact may depend on: architecture, configuration, weights, images."""
    if measurements not in _digests:
        model = measurements.model
        digest = hashlib.sha256(f"{type(model).__name__} {model.config.model_dump_json()}".encode())
        images = {"x": measurements.examples, "z": measurements.probes, "whole": measurements.whole}
        tensors = {**model.state_dict(), **images}
        for name, value in tensors.items():
            if isinstance(value, Tensor):
                digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        _digests[measurements] = digest.hexdigest()
    return _digests[measurements]
