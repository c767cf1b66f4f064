"""Each file is read once, and again whenever it may have changed."""

import hashlib
import os

import pytest

from memzoo.zoo.registry import hashes


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file, and a count of how often its content was read."""
    path = tmp_path / "file"
    path.write_bytes(b"a" * 1000)
    compute, reads = hashes.compute_sha256, []
    monkeypatch.setattr(hashes, "compute_sha256", lambda path: reads.append(path) or compute(path))
    monkeypatch.setattr(hashes, "_seen", {})
    return path, reads


def test_a_file_is_read_once_by_all_processes(file, monkeypatch):
    path, reads = file
    wanted = hashlib.sha256(b"a" * 1000).hexdigest()
    assert hashes.remembered_sha256(path) == wanted
    assert hashes.remembered_sha256(path) == wanted
    monkeypatch.setattr(hashes, "_seen", {})  # another process
    assert hashes.remembered_sha256(path) == wanted
    assert len(reads) == 1


def test_a_changed_file_is_read_again_even_with_its_old_size_and_time(file):
    path, reads = file
    hashes.remembered_sha256(path)
    about = path.stat()
    path.write_bytes(b"a" * 999 + b"b")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert hashes.remembered_sha256(path) == hashlib.sha256(b"a" * 999 + b"b").hexdigest()
    assert len(reads) == 2


def test_a_file_in_the_place_of_another_is_read(file, tmp_path):
    path, _ = file
    hashes.remembered_sha256(path)
    (tmp_path / "other").write_bytes(b"c" * 1000)
    (tmp_path / "other").replace(path)
    assert hashes.remembered_sha256(path) == hashlib.sha256(b"c" * 1000).hexdigest()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"path": 3}', '{"path": "x", "marks": [1], "sha256": "y"}', "\0"])
def test_a_note_that_is_damaged_or_another_s_is_not_believed(file, content, monkeypatch):
    path, reads = file
    wanted = hashes.remembered_sha256(path)
    (note,) = (hashes.store() / "hashes").iterdir()
    note.write_text(content)
    monkeypatch.setattr(hashes, "_seen", {})
    assert hashes.remembered_sha256(path) == wanted
    assert len(reads) == 2


def test_a_store_that_cannot_be_written_only_costs_time(file, tmp_path, monkeypatch):
    path, reads = file
    (tmp_path / "blocked").write_text("a file, not a folder")
    monkeypatch.setenv("MEMZOO_DIR", str(tmp_path / "blocked"))
    hashes.remembered_sha256(path)
    monkeypatch.setattr(hashes, "_seen", {})
    hashes.remembered_sha256(path)
    assert len(reads) == 2


def test_where_the_store_is(monkeypatch, tmp_path):
    assert hashes.store() == tmp_path / "memzoo"
    monkeypatch.delenv("MEMZOO_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert hashes.store() == tmp_path / "cache/memzoo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert hashes.store().parts[-2:] == (".cache", "memzoo")
