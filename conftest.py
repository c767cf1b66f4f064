"""Run the Python examples of README.md and of the documentation as tests."""

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()], patterns=["README.md", "docs/*.md"], excludes=["docs/_build/**"]
).pytest()
