"""Run chosen tests in this process, which has not imported memzoo yet."""

import contextlib
import gc
import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

OPTIONS = [
    "-q",
    "--doctest-modules",
    "--import-mode=importlib",
    "--ignore=tests/support",
    "--tb=short",
    # to rewrite assertions, pytest would read a module with examples from its file, which has no mistake
    "--assert=plain",
]
# pytest would warn that plugins which are imported already cannot have their assertions rewritten
OWN = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
SHARED = [  # imported once, by the process whose children run the tests; memzoo is imported by the children
    "beartype",
    "huggingface_hub",
    "hypothesis",
    "jaxtyping",
    "lightning.pytorch",
    "matplotlib.pyplot",
    "networkx",
    "pandas",
    "pydantic",
    "safetensors.torch",
    "sybil.integration.pytest",
    "sybil.parsers.markdown",
    "tensorboard",
    "timm",
    "torch._dynamo",
    "torch.fx.experimental.proxy_tensor",
    "torch.utils.tensorboard",
    "torchmetrics",
    "torchvision",
]


def prepare() -> None:
    """Import what every run needs, with one thread, before the first fork."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", MPLBACKEND="Agg", HF_HUB_OFFLINE="1")
    for name in SHARED:
        if find_spec(name.split(".")[0]) is not None:
            __import__(name)
    import torch

    torch.set_num_threads(1)
    # this run has no tests: it makes pytest import its plugins
    with tempfile.TemporaryDirectory() as empty, contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["--collect-only", "-c", os.devnull, "--rootdir", empty, empty, *OWN])
    gc.collect()
    gc.freeze()  # so that the garbage collector of the children skips these objects, and no page is copied


class Chooser:
    """Keep only the chosen tests, in the given order, and remember the first that failed."""

    def __init__(self, chosen: Sequence[str]) -> None:
        self.rank = {test: rank for rank, test in enumerate(chosen)}
        self.failed: str | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Remove the other tests."""
        chosen = [item for item in items if item.nodeid in self.rank]
        items[:] = sorted(chosen, key=lambda item: self.rank[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a test that failed."""
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember a file that could not be imported."""
        if report.failed and self.failed is None:
            self.failed = f"collection of {report.nodeid}"


def run(root: Path, files: Iterable[str], plugins: Sequence[Any], *extra: str) -> int:
    """Run pytest on these files, and return its exit status."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as scratch:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{scratch}/hypothesis"
        os.chdir(root)
        sys.path.insert(0, str(root))
        own = [*OWN, "-o", "addopts=", f"--basetemp={scratch}/tmp"]
        return int(pytest.main([*OPTIONS, *own, *extra, *files], plugins=list(plugins)))


def limit_cpu(seconds: float) -> None:
    """Limit the CPU time that this process may still take: the system ends it afterwards."""
    spent = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent + seconds) + 1, resource.RLIM_INFINITY))
