"""Run the Python examples of README.md, of the documentation and of the model cards as tests."""

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md", "checkpoints/*/README.md"],
    excludes=["docs/_build/**"],
).pytest()
