"""Where a file is taken from, and what is done about a damaged one; the Hub stands in for itself elsewhere."""

import os
from dataclasses import FrozenInstanceError, fields

import pytest
from records import records

from memzoo import zoo
from memzoo.errors import CheckpointMissingError, CorruptCheckpointError, HubAccessError
from memzoo.zoo.hub import client
from memzoo.zoo.hub.sources import Folder, Repository, find, sources_of
from memzoo.zoo.registry import hashes, registries
from memzoo.zoo.registry.files import describe

NAME = "config.json"


@pytest.fixture
def published(tmp_path):
    """What the registry says of a file."""
    path = tmp_path / "published" / NAME
    path.parent.mkdir()
    path.write_text("right")
    return describe(path)


def folder(path, content=None):
    path.mkdir(exist_ok=True)
    if content is not None:
        (path / NAME).write_text(content)
    return Folder(path)


def test_the_first_place_that_has_a_file_gives_it(tmp_path, published):
    without, one, other = folder(tmp_path / "a"), folder(tmp_path / "b", "right"), folder(tmp_path / "c", "right")
    assert without.get(NAME) is None
    assert find([without, one, other], NAME, published) == tmp_path / "b" / NAME
    assert find([without, other, one], NAME, None) == tmp_path / "c" / NAME
    with pytest.raises(CheckpointMissingError, match=rf"{NAME} is missing; looked in {tmp_path}/a, {tmp_path}/a\."):
        find([without, without], NAME, published)


def test_a_damaged_file_of_a_folder_is_refused_although_another_place_has_it(tmp_path, published):
    wrong, right = folder(tmp_path / "a", "wrong"), folder(tmp_path / "b", "right")
    with pytest.raises(CorruptCheckpointError, match=r"SHA-256 .* changed or damaged"):
        find([wrong, right], NAME, published)
    assert find([wrong, right], NAME, None).read_text() == "wrong"  # nothing is known of it
    assert wrong.renew(NAME) is None


def test_a_pickle_in_the_place_of_the_weights_is_named(tmp_path):
    place = folder(tmp_path / "a")
    (place.path / "model.pt").write_bytes(b"")
    with pytest.raises(CorruptCheckpointError, match=r"holds model\.pt, which may be a pickle"):
        find([place], "model.safetensors", None)


class Cache:
    """A place whose files can be fetched again."""

    def __init__(self, path, again):
        self.path, self.again, self.renewed = path, again, 0

    def get(self, name):
        return self.path / name

    def renew(self, name):
        self.renewed += 1
        if isinstance(self.again, Exception):
            raise self.again
        if self.again is not None:
            (self.path / name).write_text(self.again)
            return self.path / name
        return None

    def __str__(self):
        return "the cache"


def test_a_damaged_file_of_a_cache_is_fetched_again_once(tmp_path, published):
    folder(tmp_path / "a", "wrong")
    cache = Cache(tmp_path / "a", "right")
    with pytest.warns(UserWarning, match="changed or damaged.* It is fetched again from the cache"):
        assert find([cache], NAME, published).read_text() == "right"
    assert find([cache], NAME, published).read_text() == "right"
    assert cache.renewed == 1


@pytest.mark.filterwarnings("ignore:.*It is fetched again from the cache")
@pytest.mark.parametrize(
    ("again", "message"),
    [
        ("worse", "It was fetched again from the cache and came the same"),
        (None, "The cache that holds it is read-only"),
        (HubAccessError("no network"), "Fetching it again failed: no network"),
    ],
)
def test_a_file_that_stays_damaged(tmp_path, published, again, message):
    folder(tmp_path / "a", "wrong")
    cache = Cache(tmp_path / "a", again)
    with pytest.raises(CorruptCheckpointError, match=message):
        find([cache], NAME, published)
    assert cache.renewed == 1


def test_without_trust_a_file_is_read_again(tmp_path, published, monkeypatch):
    place = folder(tmp_path / "a", "right")
    monkeypatch.setattr("memzoo.zoo.registry.files.remembered_sha256", lambda path: published.sha256)
    (place.path / NAME).write_text("wrong")
    assert find([place], NAME, published).read_text() == "wrong"  # as it was remembered
    with pytest.raises(CorruptCheckpointError, match="changed or damaged"):
        find([place], NAME, published, trust=False)


def test_a_repository_of_the_hub(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(client, "fetch", lambda *about, force=False: asked.append((*about, force)) or tmp_path / "x")
    monkeypatch.setattr(client, "cached", lambda *about: None)
    place = Repository("zoo/small", "0" * 40)
    assert place.get(NAME) == place.renew(NAME) == tmp_path / "x"
    assert asked == [("zoo/small", "0" * 40, NAME, False), ("zoo/small", "0" * 40, NAME, True)]
    assert str(place).startswith("zoo/small@000")
    assert str(place).endswith("on the Hub")
    (tmp_path / "x").write_text("")
    monkeypatch.setattr(client, "cached", lambda *about: tmp_path / "x")
    assert place.renew(NAME) == tmp_path / "x"
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == tmp_path and mode == os.W_OK))
    assert place.renew(NAME) is None  # it could not be put there
    assert len(asked) == 3


def test_places_of_a_registered_checkpoint_in_their_order(small):
    registries.register(small)
    entry = registries.info("small-fc")
    installed, downloaded = sources_of(entry)
    assert installed == Folder(small.parent / "checkpoints/small-fc")
    assert downloaded == Folder(hashes.store() / "checkpoints/small-fc")
    assert str(installed) == str(installed.path)


def test_a_store_may_be_named_from_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MEMZOO_DIR", "~/mine")
    assert hashes.store() == tmp_path / "mine"
    monkeypatch.setenv("MEMZOO_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cache")
    assert hashes.store() == tmp_path / "cache/memzoo"


def test_a_note_is_whole_and_nothing_is_left_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "_seen", {})
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    digest = hashes.remembered_sha256(path)
    (note,) = (hashes.store() / "hashes").iterdir()
    assert len(note.stem) == 32
    monkeypatch.setattr(hashes.json, "dump", lambda *_: (_ for _ in ()).throw(OSError("full")))
    monkeypatch.setattr(hashes, "_seen", {})
    path.write_bytes(b"abcd")
    assert hashes.remembered_sha256(path) != digest
    assert list((hashes.store() / "hashes").iterdir()) == [note]  # the one that could not be written is gone


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "_seen", {})
    path, compute = tmp_path / "file", hashes.compute_sha256
    path.write_bytes(b"abc")

    def slow(path):
        digest = compute(path)
        path.write_bytes(b"abcd")
        return digest

    monkeypatch.setattr(hashes, "compute_sha256", slow)
    hashes.remembered_sha256(path)
    monkeypatch.setattr(hashes, "compute_sha256", compute)
    assert hashes.remembered_sha256(path) == compute(path)


RECORDS = {name: kind for name, kind in records(zoo).items() if ".loading." in name or ".sources." in name}


@pytest.mark.parametrize("name", RECORDS)
def test_records_cannot_be_changed(name):
    kind = RECORDS[name]
    record = object.__new__(kind)
    with pytest.raises(FrozenInstanceError):
        setattr(record, fields(kind)[0].name, None)


class Vanishing(Cache):
    """A cache from which another process has removed the file, the first few times that it is asked for."""

    def __init__(self, path, times):
        super().__init__(path, None)
        self.times = times

    def get(self, name):
        self.times -= 1
        if self.times >= 0:
            (self.path / name).unlink(missing_ok=True)
        else:
            (self.path / name).write_text("right")
        return super().get(name)


def test_a_file_that_another_process_replaces_is_waited_for(tmp_path, published, monkeypatch):
    monkeypatch.setattr("memzoo.zoo.hub.sources.time.sleep", lambda seconds: None)
    place = folder(tmp_path / "a", "right").path
    assert find([Vanishing(place, 3)], NAME, published).read_text() == "right"
    with pytest.raises(CheckpointMissingError, match=rf"{NAME} is missing"):
        find([Vanishing(place, 9)], NAME, published)
