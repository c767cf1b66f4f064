"""Files and folders are written whole, or what was there stays."""

import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from memzoo.errors import AlreadyExistsError, StorageError
from memzoo.zoo.registry.writing import check_writable, explain_write_errors, write_aside, write_text


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_is_put_in_its_place_when_all_is_written(tmp_path, monkeypatch, swaps):
    if not swaps:  # another system
        monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    folder = tmp_path / "deep" / "made"
    for content in ("one", "two"):
        with write_aside(folder) as aside:
            # a rename is atomic within one file system only
            assert aside.parent == folder.parent
            (aside / "file").write_text(content)
            assert not folder.exists() or (folder / "file").read_text() == "one"
        assert (folder / "file").read_text() == content
        # temporary folders are made for their owner alone: these permissions were widened
        assert folder.stat().st_mode & 0o777 == 0o755
        assert [path.name for path in folder.parent.iterdir()] == ["made"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems exchange no folders")
def test_a_folder_is_there_at_every_moment_while_it_is_replaced(tmp_path, monkeypatch):
    folder = tmp_path / "made"
    folder.mkdir()
    monkeypatch.setattr(Path, "rename", lambda path, target: pytest.fail(f"{path} was moved"))
    with write_aside(folder) as aside:
        (aside / "file").write_text("two")
    assert (folder / "file").read_text() == "two"


def test_a_block_that_fails_leaves_the_folder_as_it_was(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "file").write_text("one")

    def write_half():
        with write_aside(folder) as aside:
            (aside / "file").write_text("two")
            raise KeyError("half of it was written")

    with pytest.raises(KeyError, match="half"):
        write_half()
    assert (folder / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_that_cannot_be_put_in_place_is_put_back(tmp_path, monkeypatch):
    folder = tmp_path / "made"
    rename = Path.rename
    folder.mkdir()
    (folder / "file").write_text("one")

    def rename_all_but(path, target):
        if path == aside:
            raise OSError("no room")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_all_but)
    monkeypatch.setattr("memzoo.zoo.registry.writing._swap", lambda folder, aside: False)
    with pytest.raises(OSError, match="no room"), write_aside(folder) as aside:
        (aside / "file").write_text("two")
    assert (folder / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    check_writable(tmp_path / "deep" / "new")
    assert (tmp_path / "deep" / "new").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot be written .*; give another folder"):
        check_writable(tmp_path / "file" / "new")


def test_text_is_written_in_utf_8_for_all_to_read(tmp_path):
    path = tmp_path / "r.yaml"
    write_text("ä", path)
    assert path.read_bytes() == "ä".encode()
    # temporary files are made for their owner alone: these permissions were widened
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_text_file_that_is_replaced_keeps_its_permissions(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("old")
    path.chmod(0o640)
    write_text("new", path)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_text_file_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    with pytest.raises(StorageError, match="could not be written, and is as it was"):
        write_text("x", tmp_path / "none" / "r.yaml")
    path = tmp_path / "r.yaml"
    path.write_text("old")

    def raise_full(*_):
        raise OSError("no room")

    monkeypatch.setattr(Path, "replace", raise_full)
    with pytest.raises(StorageError, match="could not be written, and is as it was: no room"):
        write_text("new", path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error")])
def test_what_goes_wrong_while_a_folder_is_written_is_an_error_of_memzoo(tmp_path, error):
    said = "mine could not be written, and is as it was: "
    with pytest.raises(StorageError, match=said), explain_write_errors(tmp_path / "mine"):
        raise error
    with pytest.raises(AlreadyExistsError, match="there"), explain_write_errors(tmp_path / "mine"):
        raise AlreadyExistsError("there")
