"""A checkpoint in a folder: whole, or the folder is as it was."""

import errno
import shutil

import pytest

import memzoo
from memzoo.errors import CheckpointMissingError, StorageError, UnknownCheckpointError
from memzoo.zoo.hub.sources import Folder
from memzoo.zoo.loading import downloading
from memzoo.zoo.loading.locating import LocatedCheckpoint


@pytest.fixture
def checkpoint(small):
    memzoo.register(small)
    return small.parent / "checkpoints/small-fc"


def test_a_folder_that_is_complete_is_left_and_one_that_is_not_replaced(checkpoint, tmp_path):
    folder = memzoo.download("small-fc", tmp_path / "to")
    assert folder == tmp_path / "to/checkpoints/small-fc"
    names = {path.name for path in folder.iterdir()}
    assert names >= {*memzoo.info("small-fc").files, "entry.yaml"}
    (folder / "more").write_text("of mine")
    assert memzoo.download("small-fc", tmp_path / "to") == folder
    assert (folder / "more").exists()
    for change in (lambda: (folder / "config.json").write_text("{}"), lambda: (folder / "entry.yaml").unlink()):
        change()
        memzoo.download("small-fc", tmp_path / "to")
        assert {path.name for path in folder.iterdir()} == names
        assert (folder / "config.json").read_bytes() == (checkpoint / "config.json").read_bytes()


def test_a_checkpoint_without_an_entry_cannot_be_downloaded(checkpoint, tmp_path):
    (checkpoint / "entry.yaml").unlink(missing_ok=True)
    with pytest.raises(UnknownCheckpointError, match=r"has no entry, so that neither its name nor its files are known"):
        memzoo.download(f"local-dir:{checkpoint}", tmp_path / "to")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "could not be written, the disk or a quota is full"),
        (errno.EDQUOT, "could not be written, the disk or a quota is full"),
        (errno.EACCES, r"could not be written \("),
    ],
)
def test_a_disk_that_cannot_be_written_is_reported(checkpoint, tmp_path, monkeypatch, number, message):
    def fail(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(StorageError, match=f"{message}.*nothing half-written is left. Give another folder"):
        memzoo.download("small-fc", tmp_path / "to")
    assert not list((tmp_path / "to/checkpoints").iterdir())


def test_what_another_process_wrote_meanwhile_is_taken(checkpoint, tmp_path, monkeypatch):
    complete = iter([False, True])
    monkeypatch.setattr(downloading, "_is_complete", lambda *_: next(complete))

    def fail(*_):
        raise OSError(errno.ENOTEMPTY, "there already")

    monkeypatch.setattr(shutil, "copyfile", fail)
    assert memzoo.download("small-fc", tmp_path / "to") == tmp_path / "to/checkpoints/small-fc"


def test_errors_that_are_not_of_the_disk_are_passed_on(checkpoint, tmp_path, monkeypatch):
    for error in (OSError("without a number"), CheckpointMissingError("gone")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(shutil, "copyfile", fail)
        with pytest.raises(type(error), match=str(error)):
            memzoo.download("small-fc", tmp_path / "to")


def test_another_checkpoint_of_the_same_name_is_not_overwritten(checkpoint, small, tmp_path):
    entry = memzoo.info("small-fc")
    folder = memzoo.download("small-fc", tmp_path / "to")
    stranger = entry.model_copy(update={"id": "stranger"})
    downloading._check_name(stranger, tmp_path / "nothing")
    downloading._check_name(stranger, folder)  # the same files
    other = stranger.model_copy(update={"files": {}})
    with pytest.raises(UnknownCheckpointError, match=rf"another checkpoint of the name 'stranger' in {folder}"):
        downloading._check_name(other, folder)
    with pytest.raises(UnknownCheckpointError, match="another checkpoint of the name 'small-fc' in a registry"):
        downloading._check_name(entry.model_copy(update={"title": "Mine"}), folder)


class MissingSource:
    def get(self, name):
        raise CheckpointMissingError("not on the Hub")


def test_a_card_is_taken_from_the_first_place_that_has_one(tmp_path):
    (tmp_path / "README.md").write_text("card")
    found = LocatedCheckpoint("x", None, [MissingSource(), Folder(tmp_path / "without"), Folder(tmp_path)])
    assert downloading._find_extra(found, "README.md") == tmp_path / "README.md"
    assert downloading._find_extra(found, "training.png") is None
