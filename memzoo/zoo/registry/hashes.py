"""SHA-256 of files, computed once and remembered by size and times."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

_seen: dict[str, tuple[list[int], str]] = {}


def store() -> Path:
    """Memzoo's own folder: ``MEMZOO_DIR``, else ``memzoo`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

    Holds ``checkpoints/ID/``, as ``memzoo download --to`` writes them, and ``hashes/``.
    """
    given = os.environ.get("MEMZOO_DIR")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "memzoo"


def compute_sha256(path: Path) -> str:
    """Read the whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """SHA-256 of a file; read only when its size or one of its times has changed since it was read last.

    What was found is kept in the folder ``hashes`` of :func:`store`, where that can be written.
    """
    key, marks = os.path.realpath(path), _marks(path)
    note = store() / "hashes" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    known = _seen.get(key) or _read(note, key)
    if known is not None and known[0] == marks:
        _seen[key] = known
        return known[1]
    digest = compute_sha256(path)
    if _marks(path) == marks:  # not while it was being written
        _seen[key] = (marks, digest)
        _write(note, {"path": key, "marks": marks, "sha256": digest})
    return digest


def _marks(path: Path) -> list[int]:
    """What changes when the content does: ctime too, since a copy can set the modification time back."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _read(note: Path, key: str) -> tuple[list[int], str] | None:
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        return (content["marks"], content["sha256"]) if content["path"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no note, or not one of ours: the file is read


def _write(note: Path, content: dict) -> None:
    aside = None
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=note.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        Path(aside).replace(note)
    except OSError:  # read-only or full: the next process reads the file again
        if aside is not None:
            Path(aside).unlink(missing_ok=True)
