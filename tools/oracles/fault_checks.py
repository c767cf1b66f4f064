"""Damage what memzoo reads and writes, and see that it is as before, mended, or refused by a clear error.

Each case damages a copy of one place in one way, and uses it in a process of its own. Wrong are another result than
that of the undamaged files, an error of another library, ten seconds, a gigabyte, and a file that reading has changed.
"""

import hashlib
import random
import shutil
import stat
import tempfile
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import memzoo
from tools.oracles.fault_kinds import KINDS, fill_disk
from tools.oracles.fault_places import NOTHING, PLACES, Place, build_ground
from tools.oracles.limited import Ended, run_limited
from tools.oracles.outcomes import Case, Outcome

SECONDS = 10.0
"""Most seconds of computing that a damaged file may cost."""
MEGABYTES = 1000.0
"""Most memory."""


def draw_fault_cases(seed: int, count: int) -> Iterator[Case]:
    """Draw cases: all places and kinds in turn, with another damage each time."""
    pairs = [(place, kind) for place in PLACES for kind in KINDS]
    for number in range(count):
        place, kind = pairs[number % len(pairs)]
        yield f"fault {seed}/{number}. {place}, {kind}", partial(check_fault, seed, number, place, kind)


def check_fault(seed: int, number: int, name: str, kind: str) -> list[Outcome]:
    """Damage a copy of one place in one way, and use it."""
    place = PLACES[name]
    wanted = _find_truth(name)
    ground = build_ground()
    with tempfile.TemporaryDirectory(prefix="memzoo-fault-") as work:
        folder = Path(work) / "place"
        shutil.copytree(ground / place.folder, folder, symlinks=True)
        _allow_everybody(Path(work))
        rng = random.Random(f"{seed}/{number}")
        is_full = place.writes and kind == "fill"
        path = rng.choice(sorted(one for one in folder.glob(place.files) if one.is_file()))
        if not is_full:
            KINDS[kind](rng, path)
        before = _list_content(folder)
        ended = run_limited(partial(_use, place, folder, is_full))
        word, text = _judge(place, ended, wanted)
        may_change = place.writes and ended.word is None
        if not may_change and _list_content(folder) != before:
            word, text = "changed", f"the folder is not as it was; {word} {text}"
        _allow_everybody(Path(work))
    if _list_content(ground / place.folder) != _list_original(place.folder):
        word, text = "changed", "the original is not as it was"
    detail = f"{path.name}: {text}" if word in ("wrong", "raw", "changed") else text
    return [Outcome(name, kind, word, detail)]


def _use(place: Place, folder: Path, is_full: bool) -> Any:
    if is_full:
        fill_disk()
    return place.use(folder)


def _judge(place: Place, ended: Ended, wanted: Any) -> tuple[Any, str]:
    """Say in one word what became of a use."""
    if ended.word == "hangs":
        return "wrong", ended.text
    if ended.word == "raw":
        return "raw", ended.text
    if ended.seconds > SECONDS or ended.megabytes > MEGABYTES:
        return "wrong", f"{ended.seconds:.1f} s, {ended.megabytes:.0f} MB; {ended.text}"
    if ended.word is not None:
        return ended.word, ended.text
    if place.is_checked and ended.value not in (wanted, NOTHING):
        return "wrong", f"another result: {str(ended.value)[:100]}"
    return "right", ""


@lru_cache
def _find_truth(name: str) -> Any:
    """Return what the undamaged files of a place give."""
    memzoo.list_models()  # reads the registry once, for all processes that are made from this one
    place = PLACES[name]
    with tempfile.TemporaryDirectory(prefix="memzoo-fault-") as work:
        folder = Path(work) / "place"
        shutil.copytree(build_ground() / place.folder, folder, symlinks=True)
        _allow_everybody(Path(work))
        ended = run_limited(partial(place.use, folder))
    assert ended.word is None, f"{name} without damage: {ended.text}"
    return ended.value


@lru_cache
def _list_original(folder: str) -> dict[str, str]:
    return _list_content(build_ground() / folder)


def _list_content(folder: Path) -> dict[str, str]:
    """Describe everything in a folder."""
    return {str(path.relative_to(folder)): _describe(path) for path in sorted(folder.rglob("*"))}


def _describe(path: Path) -> str:
    """Describe a file by its content, and anything else by its kind."""
    if path.is_symlink():
        return f"link to {path.readlink()}"
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        return str(stat.S_IFMT(mode))
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except PermissionError:
        return "denied"


def _allow_everybody(root: Path) -> None:
    """Let everybody read and write what is below a folder."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o777 if path.is_dir() else 0o666)
