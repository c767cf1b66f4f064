"""Run a call in a process of its own, which has a limit of time, and say how much time and memory it took."""

import ctypes
import os
import pickle
import re
import select
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tools.oracles.outcomes import attempt

CAPABILITIES = 0x20080522
"""Version of the structure that Linux takes for the rights of a process."""
PATIENCE_S = 60.0
"""Seconds after which a call is ended; more than a call may take, as other processes take some of them."""
PART = 2**20
"""Bytes that are read from a process at once."""


class Ended(NamedTuple):
    """Hold what became of a call."""

    value: Any
    word: str | None
    """``refused`` for an error of memzoo, ``raw`` for another, ``hangs`` if it was ended; None if it returned."""
    text: str
    """The error."""
    seconds: float
    """Of computing; waiting does not count."""
    megabytes: float
    """Most memory beyond what the process had before."""


def run_limited(call: Callable[[], Any]) -> Ended:
    """Run a call in a copy of this process, without the rights of an administrator.

    Args:
        call: What it returns must be small, and of plain types.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch has threads; the copy uses none of them
        child = os.fork()
    if not child:
        _run_and_leave(call, writing)
    os.close(writing)
    content = _read_to_the_end(reading, child)
    os.close(reading)
    os.waitpid(child, 0)
    if not content:
        return Ended(None, "hangs", f"no end within {PATIENCE_S:.0f} s, or the process was killed", PATIENCE_S, 0.0)
    return Ended(*pickle.loads(content))


def _run_and_leave(call: Callable[[], Any], writing: int) -> None:
    """Run a call, write what became of it to a pipe, and end the process."""
    try:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a file that may not grow is an error
        Path("/proc/self/clear_refs").write_text("5")  # the largest memory is counted from here
        _give_up_rights()
        before = _measure_memory("VmRSS")
        start = time.process_time()
        value, word, text = attempt(call)
        seconds = time.process_time() - start
        os.write(writing, pickle.dumps((value, word, text, seconds, _measure_memory("VmHWM") - before)))
    finally:
        os._exit(0)


def _give_up_rights() -> None:
    """Let files be denied to this process, also if an administrator has started it."""
    header = (ctypes.c_uint32 * 2)(CAPABILITIES, 0)
    none = (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capset(header, none)


def _measure_memory(key: str) -> float:
    """Return the memory of this process in megabytes, now (``VmRSS``) or at most (``VmHWM``)."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0


def _read_to_the_end(reading: int, child: int) -> bytes:
    """Read all that a process writes, and kill it if it does not end."""
    content = b""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        ready, _, _ = select.select([reading], [], [], 1.0)
        if not ready:
            continue
        part = os.read(reading, PART)
        if not part:
            return content
        content += part
    os.kill(child, signal.SIGKILL)
    return b""
