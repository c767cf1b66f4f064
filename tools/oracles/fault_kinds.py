"""Damage files in the ways in which disks, transfers and strangers do."""

import json
import os
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    float("nan"),
    float("inf"),
    2**31,
    2**63,
    10**30,
    "",
    "14",
    "9" * 5000,
    "\x1b[31m",
    "a\nb",
    "../../etc/passwd",
    "x" * 200_000,
    [],
    [[]] * 1000,
    {},
    {"a": {"a": 1}},
    {f"key{number}": number for number in range(20_000)},
)
TEXTS = (
    "9" * 5000,
    "1e9999",
    "\\ud800",
    "\ufeff",
    "\0",
    "[" * 10_000,
    '{"a":' * 10_000,
    "&a [*a]",
    "!!python/object/apply:os.system ['true']",
    "{<<: {a: 1}}",
    "- " * 10_000,
    '"' * 9,
)
FULL = 64
"""Bytes that a file may have on a full disk."""


def truncate(rng: random.Random, path: Path) -> None:
    """Cut a file short."""
    os.truncate(path, rng.choice([0, 1, 8, rng.randrange(path.stat().st_size + 1), max(path.stat().st_size - 1, 0)]))


def flip(rng: random.Random, path: Path) -> None:
    """Flip a few bits, more often near the beginning."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(min(len(content), rng.choice([16, 300, len(content)])))
        content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def swap(rng: random.Random, path: Path) -> None:
    """Exchange two parts of a file, or the file and its neighbour."""
    others = sorted(other for other in path.parent.iterdir() if other.is_file() and other != path)
    if others and rng.random() < 0.5:
        other = rng.choice(others)
        aside = path.with_name("aside")
        path.rename(aside)
        other.rename(path)
        aside.rename(other)
        return
    content = path.read_bytes()
    first, second, third = sorted(rng.randrange(len(content) + 1) for _ in range(3))
    path.write_bytes(content[:first] + content[second:third] + content[first:second] + content[third:])


def grow(rng: random.Random, path: Path) -> None:
    """Put something into a file, or behind its end."""
    content = path.read_bytes()
    place = rng.choice([0, 8, rng.randrange(len(content) + 1), len(content)])
    more = rng.choice([b"\0", b" ", b"x", content, rng.choice(TEXTS).encode()]) * rng.choice([1, 2, 1000])
    path.write_bytes(content[:place] + more[: 10 * 2**20] + content[place:])


def nest(rng: random.Random, path: Path) -> None:
    """Put something else into the place of a value, or a folder into the place of the file."""
    parse = {".json": json.loads, ".yaml": yaml.safe_load}.get(path.suffix)
    if parse is None:
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / path.name).write_bytes(content)
        return
    content = parse(path.read_text())
    for _ in range(rng.randint(1, 2)):
        _replace_value(rng, content)
    dump = yaml.safe_dump if path.suffix == ".yaml" else json.dumps
    path.write_text(dump(content))


def _replace_value(rng: random.Random, content: Any) -> None:
    """Replace, remove or add one value anywhere in a document."""
    place = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys) if keys else None
        if key is None or not isinstance(place[key], (dict, list)) or rng.random() < 0.3:
            break
        place = place[key]
    value = rng.choice(VALUES)
    if key is None:
        place.update(a=value) if isinstance(place, dict) else place.append(value)
    elif rng.random() < 0.2:
        del place[key]
    elif rng.random() < 0.2 and isinstance(place, dict):
        place[rng.choice(["a", "", "x" * 1000, "\x1b[31m"])] = value
    else:
        place[key] = value


def link(rng: random.Random, path: Path) -> None:
    """Put a link, a pipe or a device into the place of a file."""
    moved = shutil.move(path, path.parent / "moved")
    kind = rng.choice(["away", "nowhere", "itself", "zeros", "other", "pipe", "up"])
    if kind == "pipe":
        os.mkfifo(path)
        return
    targets = {
        "away": moved,
        "nowhere": "gone",
        "itself": path.name,
        "zeros": "/dev/zero",
        "up": "..",
        "other": "/etc/passwd",
    }
    path.symlink_to(targets[kind])


def deny(rng: random.Random, path: Path) -> None:
    """Take away the right to read a file, or to use its folder."""
    rng.choice([path, path.parent]).chmod(rng.choice([0, 0o200]))


def fill(rng: random.Random, path: Path) -> None:
    """Fill a file with what has no content."""
    size = path.stat().st_size
    path.write_bytes(rng.choice([b"\0", b" ", b"\xff", b"#\n"]) * rng.choice([size, 9 * 10**6]))


def fill_disk() -> None:
    """Let no file of this process grow, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, FULL))


KINDS: dict[str, Callable[[random.Random, Path], None]] = {
    "truncate": truncate,
    "flip": flip,
    "swap": swap,
    "grow": grow,
    "nest": nest,
    "link": link,
    "deny": deny,
    "fill": fill,
}
