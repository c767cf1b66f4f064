"""Run functions in forked processes, several at a time, each with a limit in seconds."""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

Job = tuple[Any, Callable[[Callable[[Any], None]], None], float]
"""A key, the function to run, which receives a function that reports values, and the most seconds it may take."""


@dataclass(frozen=True)
class EndedJob:
    """Describe a job that has ended."""

    key: Any
    reports: list[Any]
    """The values that it reported, in their order."""
    how: Literal["done", "late", "spent", "died"]
    """Late: it exceeded its seconds. Spent: it exceeded a limit of CPU time that it set itself.

    Died: it ended by an error or a signal.
    """
    seconds: float
    log: str
    """The end of what it printed."""


@dataclass(frozen=True)
class _Running:
    """Describe a job that runs: its process has this folder for its log, its reports and its temporary files."""

    key: Any
    folder: Path
    started: float
    deadline: float

    def is_late(self) -> bool:
        return time.monotonic() > self.deadline

    def collect(self, how: Literal["done", "late", "spent", "died"]) -> EndedJob:
        """Collect what an ended job left, and remove its folder."""
        file = self.folder / "log"
        log = file.read_text(errors="replace")[-4000:] if file.exists() else ""
        return EndedJob(self.key, _read_reports(self.folder), how, time.monotonic() - self.started, log)


def run_all(jobs: Iterable[Job], at_once: int) -> Iterator[EndedJob]:
    """Run all jobs, and yield each when it has ended; no process that a job started outlives it."""
    running: dict[int, _Running] = {}
    waiting = iter(jobs)
    try:
        while True:
            for job in islice(waiting, at_once - len(running)):
                process, started = _start(job)
                running[process] = started
            if not running:
                return
            for process, job in list(running.items()):
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended or job.is_late():
                    del running[process]
                    _end(process, reap=not ended)
                    yield job.collect(_name_end(status) if ended else "late")
            time.sleep(0.02)
    finally:
        for process, job in running.items():
            _end(process, reap=True)
            _read_reports(job.folder)


def _start(job: Job) -> tuple[int, _Running]:
    key, work, seconds = job
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    started = time.monotonic()
    return _fork(work, folder), _Running(key, folder, started, started + seconds)


def _name_end(status: int) -> Literal["done", "spent", "died"]:
    """Name how a process ended, by its status as ``os.waitpid`` returns it."""
    if status == 0:
        return "done"
    spent = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
    return "spent" if spent else "died"


def _fork(work: Callable[[Callable[[Any], None]], None], folder: Path) -> int:
    """Run the work in a child, and return the number of its process; the child never returns from here."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setsid()  # a group of its own, which _end can kill as a whole
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
    """Kill a process with all that it started; ``reap`` where its status was not read yet."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    if reap:
        os.waitpid(process, 0)


def _read_reports(folder: Path) -> list[Any]:
    """Read what a job reported, and remove its folder."""
    report = folder / "report"
    lines = report.read_text().splitlines() if report.exists() else []
    values = []
    for line in lines:
        try:
            values.append(json.loads(line))
        except ValueError:  # the last line of a job that was killed while it wrote
            break
    shutil.rmtree(folder, ignore_errors=True)
    return values
