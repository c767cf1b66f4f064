"""Import one module with a mistake in it; its file on disk is never touched."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from tools.mutants.sites import make_mutant

VARIABLE = "MEMZOO_MUTANT"  # tells the processes that a test starts


class _Loader(SourceFileLoader):
    """Compile the module with its mistake, and keep no compiled file."""

    def __init__(self, name: str, path: str, number: int) -> None:
        super().__init__(name, path)
        self.number = number

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_source(fullname) or ""
        return compile(make_mutant(source, self.number), self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    """Find one module only."""

    def __init__(self, name: str, path: Path, number: int) -> None:
        self.name = name
        self.path = path
        self.number = number

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        loader = _Loader(fullname, str(self.path), self.number)
        return importlib.util.spec_from_file_location(fullname, self.path, loader=loader)


def serve(root: Path, path: str, number: int) -> None:
    """Give every later import of the module at ``root / path`` its mistake, here and in processes started from here."""
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    if name in sys.modules:
        raise RuntimeError(f"{name} was imported already; serve its mistake in a process that has not yet done so.")
    sys.meta_path.insert(0, _Finder(name, root / path, number))
    importlib.invalidate_caches()
    os.environ[VARIABLE] = f"{root}|{path}|{number}"
    # Python runs the sitecustomize of the first folder at its start, which serves the mistake in that process too
    folders = [str(Path(__file__).parent / "subprocesses"), str(root), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
