"""Run code in processes of their own, without a new interpreter, which takes seconds to import torch and Lightning."""

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = [  # not huggingface_hub: it reads its variables when it is imported
    *(
        "pytest",
        "torch",
        "lightning.pytorch",
        "memzoo.cli",
        "memzoo.callbacks",
        "memzoo.fitting",
        "memzoo.zoo.loading.loader",
        "memzoo.zoo.publishing.publication",
    ),
    *("memzoo.zoo.loading.downloading", "memzoo.zoo.verification"),
]


def start_process(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Call a function in a fork of a process that has imported ``PRELOADED`` and nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=function, args=arguments)
    process.start()
    return process


def start_code(code: str, arguments: list[str], output: Path, **variables: str) -> BaseProcess:
    """Execute Python code as a program here, with these arguments and variables; what it prints goes to a file."""
    return start_process(_execute, code, arguments, output, Path.cwd(), sys.path, variables)


def _execute(
    code: str, arguments: list[str], output: Path, folder: Path, path: list[str], variables: dict[str, str]
) -> None:
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.update(variables)
    sys.path[:] = path
    sys.argv[1:] = arguments
    warnings.simplefilter("ignore")
    exec(compile(code, "<code of a test>", "exec"), {"__name__": "__main__"})
