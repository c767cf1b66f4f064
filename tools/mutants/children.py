"""Run functions in forked processes, some at a time, each with a limit in seconds."""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Job = tuple[Any, Callable[[Callable[[Any], None]], None], float]
"""A key, what is to be done (it may report values on the way), and the most seconds it may take."""


@dataclass(frozen=True)
class Ended:
    """A job that is over."""

    key: Any
    told: list[Any]
    """What it reported on the way."""
    how: Literal["done", "late", "spent", "died"]
    """Late: past its seconds. Spent: past a limit of CPU time that it set itself. Died: by an error or a signal."""
    seconds: float
    log: str
    """The end of what it printed."""


def run_all(jobs: Iterator[Job], at_once: int) -> Iterator[Ended]:
    """Do all jobs, and yield each when it has ended; nothing that it started outlives it."""
    running: dict[int, tuple[Any, Path, float, float]] = {}
    jobs = iter(jobs)
    more = True
    try:
        while more or running:
            while more and len(running) < at_once:
                job = next(jobs, None)
                if job is None:
                    more = False
                else:
                    key, work, seconds = job
                    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
                    started = time.monotonic()
                    running[_fork(work, folder)] = (key, folder, started, started + seconds)
            for process, (key, folder, started, deadline) in list(running.items()):
                ended, status = os.waitpid(process, os.WNOHANG)
                late = not ended and time.monotonic() > deadline
                if ended or late:
                    del running[process]
                    _end(process, reap=late)
                    how = "late" if late else _name_end(status)
                    log = (folder / "log").read_text(errors="replace")[-4000:] if (folder / "log").exists() else ""
                    yield Ended(key, _reported(folder), how, time.monotonic() - started, log)
            time.sleep(0.02)
    finally:
        for process, (_, folder, _, _) in running.items():
            _end(process, reap=True)
            _reported(folder)


def _name_end(status: int) -> Literal["done", "spent", "died"]:
    """Tell by its status, as ``os.waitpid`` gives it, how a process ended."""
    if status == 0:
        return "done"
    spent = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
    return "spent" if spent else "died"


def _fork(work: Callable[[Callable[[Any], None]], None], folder: Path) -> int:
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setsid()
        os.environ["TMPDIR"] = str(folder)
        tempfile.tempdir = str(folder)
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        with (folder / "report").open("w") as report:

            def tell(value: Any) -> None:
                report.write(json.dumps(value) + "\n")
                report.flush()

            work(tell)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _end(process: int, *, reap: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    if reap:
        os.waitpid(process, 0)


def _reported(folder: Path) -> list[Any]:
    """What the job reported; its folder is removed."""
    report = folder / "report"
    lines = report.read_text().splitlines() if report.exists() else []
    values = []
    for line in lines:
        try:
            values.append(json.loads(line))
        except ValueError:
            break
    shutil.rmtree(folder, ignore_errors=True)
    return values
