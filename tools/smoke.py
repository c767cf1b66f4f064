"""Install a built distribution into a new environment, and test it from an empty folder, without the source tree.

::

    python tools/smoke.py dist/memzoo-0.1.0-py3-none-any.whl          # a short test: two checkpoints are verified
    python tools/smoke.py --all dist/memzoo-0.1.0.tar.gz              # every checkpoint that it carries is verified

The environment takes a few GB in a temporary folder and is deleted afterwards. The exit status is 0 when all
commands succeeded, else 1.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

SHORT = ("mnist20-fc14x128", "cifar10-d1")  # those of the README

MISSING = """
import memzoo
from memzoo.errors import CheckpointMissingError
from memzoo.zoo import is_available

absent = [name for name in memzoo.list_models() if not is_available(name)]
print(f"carries {len(memzoo.list_models()) - len(absent)} of {len(memzoo.list_models())} checkpoints")
assert absent, "every checkpoint is there: this is no installation of its own"
try:
    memzoo.load(absent[0])
except CheckpointMissingError as error:
    message = str(error)
else:
    raise SystemExit(f"{absent[0]} is not carried, and was loaded")
print(message)
for place in ("beside its registry", "MEMZOO_DIR", "Hub"):
    assert place in message, f"the message does not name {place!r}"
"""

TYPED = """
import importlib.resources

import memzoo

assert importlib.resources.files(memzoo).joinpath("py.typed").is_file(), "py.typed is not installed"
"""


class SmokeTestError(Exception):
    """Say that a command failed."""


def main(distribution: Path, *, everything: bool) -> None:
    """Create the environment, and run each command in it.

    Raises:
        SmokeTestError: A command failed; its output was printed.
    """
    if not distribution.is_file():
        raise SmokeTestError(f"there is no {distribution}; `make dist` builds it.")
    with tempfile.TemporaryDirectory(prefix="memzoo smoke ") as work:  # paths with a blank must work
        home = Path(work) / "environment"
        empty = Path(work) / "empty"
        empty.mkdir()
        venv.create(home, with_pip=True)
        programs = home / ("Scripts" if os.name == "nt" else "bin")
        python = programs / "python"
        memzoo = programs / "memzoo"
        run([python, "-m", "pip", "install", "--quiet", distribution.resolve()], empty)
        check_version(distribution, python, empty)
        run([python, "-c", TYPED], empty)
        run([memzoo, "list"], empty)
        for target in ["--all"] if everything else SHORT:
            run([memzoo, "verify", target], empty)
        run([python, "-c", MISSING], empty)
        if left := sorted(path.name for path in empty.iterdir()):
            raise SmokeTestError(f"the commands left {', '.join(left)} in the folder where they ran.")
    print(f"{distribution.name}: installed and tested, without a failure.")


def check_version(distribution: Path, python: Path, folder: Path) -> None:
    """Refuse an installation whose version is not that in the name of the distribution."""
    version = distribution.name.removesuffix(".tar.gz").split("-")[1]
    found = run([python, "-c", "import memzoo; print(memzoo.__version__)"], folder).strip()
    if found != version:
        raise SmokeTestError(f"version {found!r} was installed from a file of version {version!r}.")


def run(command: list[str | Path], folder: Path) -> str:
    """Run a command in a folder, and return what it printed.

    The command does not see the variables of the environment that are about memzoo and Python.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MEMZOO", "PYTHON"))}
    variables |= {"HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(folder.parent / "cache"), "PYTHONWARNINGS": "ignore"}
    if "pip" in command:
        variables.pop("XDG_CACHE_HOME")  # pip's own cache saves the download
    result = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    shown = " ".join(map(str, command[:3])).splitlines()[0]
    print(f"$ {shown}\n{result.stdout[-1500:]}", flush=True)
    if result.returncode:
        raise SmokeTestError(f"{shown} ended with status {result.returncode}:\n{result.stderr[-3000:]}")
    return result.stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("distribution", type=Path, help="a wheel or a source distribution")
    parser.add_argument("--all", action="store_true", help="verify every checkpoint that it carries (minutes)")
    given = parser.parse_args()
    try:
        main(given.distribution, everything=given.all)
    except SmokeTestError as error:
        sys.exit(f"smoke test: {error}")
