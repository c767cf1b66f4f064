"""Run the Python examples of README.md, of the documentation and of the model cards as tests."""

import os

# threads that wait for each other crawl when another process takes one of the cores; also for what tests start
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

from pathlib import Path

from cards import find_repeated_examples
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

pytest_plugins = ["durations"]

CHECKPOINTS = Path(__file__).parent / "checkpoints"

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md", "checkpoints/*/README.md"],
    excludes=["docs/_build/**", *(f"checkpoints/{name}/README.md" for name in find_repeated_examples(CHECKPOINTS))],
).pytest()
