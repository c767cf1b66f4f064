"""Read the states of random generators, and put them back: whatever draws in a measurement, the caller must not notice.

The global generators are those of PyTorch (CPU and CUDA), NumPy and Python.
"""

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor


@contextmanager
def keep_generators_unchanged() -> Generator[None, None, None]:
    """Put the states of all global generators back afterwards."""
    states = read_generators()
    try:
        yield
    finally:
        restore_generators(states)


def read_generators() -> dict[str, Any]:
    """Return the states of all global generators of this process."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002
        "python": random.getstate(),
    }


def restore_generators(states: dict[str, Any]) -> None:
    """Put the states of all global generators of this process back."""
    torch.set_rng_state(states["torch"].cpu())
    # On another number of devices there is nothing that these states belong to.
    cuda: list[Tensor] = states["cuda"]
    if cuda and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in cuda])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])


def pack_generators(states: dict[str, Any]) -> dict[str, Any]:
    """Write states as tensors and plain numbers, which can be loaded from a file without unpickling."""
    numpy = states["numpy"]
    version, words, gauss = states["python"]
    return states | {
        "numpy": {
            "bit_generator": str(numpy["bit_generator"]),
            "key": torch.from_numpy(numpy["state"]["key"].astype(np.int64)),
            "pos": int(numpy["state"]["pos"]),
            "has_gauss": int(numpy["has_gauss"]),
            "gauss": float(numpy["gauss"]),
        },
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
    }


def unpack_generators(packed: dict[str, Any]) -> dict[str, Any]:
    """Return the states that :func:`pack_generators` wrote."""
    numpy = packed["numpy"]
    python = packed["python"]
    state = {"key": numpy["key"].numpy().astype(np.uint32), "pos": numpy["pos"]}
    return packed | {
        "numpy": {name: numpy[name] for name in ("bit_generator", "has_gauss", "gauss")} | {"state": state},
        "python": (python["version"], tuple(python["words"].tolist()), python["gauss"]),
    }


def generators_are_at(states: dict[str, Any]) -> bool:
    """Tell whether the global generators have the states that :func:`read_generators` returned."""
    return _are_equal(read_generators(), states)


def _are_equal(one: Any, other: Any) -> bool:
    """Compare dicts, lists, arrays and tensors of states."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return all(_are_equal(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    return one == other


def freeze_generator(value: object) -> Callable[[], object] | None:
    """Return a function that puts a generator, such as one that a map holds, back; None for anything else."""
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, random.SystemRandom):  # it has no state
        return None
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate())
    if isinstance(value, np.random.RandomState):
        return partial(value.set_state, value.get_state())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    return None
