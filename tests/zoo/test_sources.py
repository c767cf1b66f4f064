"""Files are taken from the first place that has them, and damaged ones are fetched again.

The Hub is not asked here; tests/hub does that.
"""

import os

import pytest

from memzoo.errors import CheckpointMissingError, CorruptCheckpointError, HubAccessError
from memzoo.zoo.hub import client
from memzoo.zoo.hub.sources import Folder, Repository, find_file, list_sources, own_folder
from memzoo.zoo.registry import registries
from memzoo.zoo.registry.files import describe

NAME = "config.json"


@pytest.fixture
def description(tmp_path):
    """Return what the registry says of a file."""
    path = tmp_path / "published" / NAME
    path.parent.mkdir()
    path.write_text("right")
    return describe(path)


def make_folder(path, content=None):
    path.mkdir(exist_ok=True)
    if content is not None:
        (path / NAME).write_text(content)
    return Folder(path)


# Folders --------------------------------------------------------------------------------------------------------------


def test_the_first_place_that_has_a_file_gives_it(tmp_path, description):
    without = make_folder(tmp_path / "a")
    one = make_folder(tmp_path / "b", "right")
    other = make_folder(tmp_path / "c", "right")
    assert without.get(NAME) is None
    assert find_file([without, one, other], NAME, description) == tmp_path / "b" / NAME
    assert find_file([without, other, one], NAME, None) == tmp_path / "c" / NAME
    with pytest.raises(CheckpointMissingError, match=rf"{NAME} is missing; looked in {tmp_path}/a, {tmp_path}/a\."):
        find_file([without, without], NAME, description)


def test_a_damaged_file_of_a_folder_is_refused_although_another_place_has_it(tmp_path, description):
    wrong = make_folder(tmp_path / "a", "wrong")
    right = make_folder(tmp_path / "b", "right")
    with pytest.raises(CorruptCheckpointError, match=r"SHA-256 .* changed or damaged"):
        find_file([wrong, right], NAME, description)
    nothing_known = None
    assert find_file([wrong, right], NAME, nothing_known).read_text() == "wrong"
    assert wrong.renew(NAME) is None


def test_a_pickle_in_the_place_of_the_weights_is_named(tmp_path):
    folder = make_folder(tmp_path / "a")
    (folder.path / "model.pt").write_bytes(b"")
    with pytest.raises(CorruptCheckpointError, match=r"holds model\.pt, which may be a pickle"):
        find_file([folder], "model.safetensors", None)


def test_a_file_that_was_right_before_is_read_again(tmp_path, description):
    folder = make_folder(tmp_path / "a", "right")
    path = find_file([folder], NAME, description)
    about = path.stat()
    path.write_text("wrong")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    with pytest.raises(CorruptCheckpointError, match="changed or damaged"):
        find_file([folder], NAME, description)


# Caches ---------------------------------------------------------------------------------------------------------------


class Cache:
    """A place whose files can be fetched again, then with the content ``renewed``; it may also be an error."""

    def __init__(self, path, renewed):
        self.path = path
        self.renewed = renewed
        self.renewals = 0

    def get(self, name):
        return self.path / name

    def renew(self, name):
        self.renewals += 1
        if isinstance(self.renewed, Exception):
            raise self.renewed
        if self.renewed is None:
            return None
        (self.path / name).write_text(self.renewed)
        return self.path / name

    def __str__(self):
        return "the cache"


def test_a_damaged_file_of_a_cache_is_fetched_again_once(tmp_path, description):
    make_folder(tmp_path / "a", "wrong")
    cache = Cache(tmp_path / "a", "right")
    with pytest.warns(UserWarning, match="changed or damaged.* It is fetched again from the cache"):
        assert find_file([cache], NAME, description).read_text() == "right"
    assert find_file([cache], NAME, description).read_text() == "right"
    assert cache.renewals == 1


@pytest.mark.filterwarnings("ignore:.*It is fetched again from the cache")
@pytest.mark.parametrize(
    ("renewed", "message"),
    [
        ("worse", "It was fetched again from the cache and came the same"),
        (None, "The cache that holds it is read-only"),
        (HubAccessError("no network"), "Fetching it again failed: no network"),
    ],
)
def test_a_file_that_stays_damaged_is_an_error(tmp_path, description, renewed, message):
    make_folder(tmp_path / "a", "wrong")
    cache = Cache(tmp_path / "a", renewed)
    with pytest.raises(CorruptCheckpointError, match=message):
        find_file([cache], NAME, description)
    assert cache.renewals == 1


class VanishingCache(Cache):
    """A cache in which another process is fetching a file again, the first ``times`` times that it is asked for."""

    def __init__(self, path, times):
        super().__init__(path, None)
        self.times = times

    def get(self, name):
        path = super().get(name)
        self.times -= 1
        if self.times >= 0:
            path.unlink(missing_ok=True)
        else:
            path.write_text("right")
        return path


def test_a_file_that_another_process_fetches_again_is_waited_for(tmp_path, description, monkeypatch):
    monkeypatch.setattr("memzoo.zoo.hub.sources.time.sleep", lambda seconds: None)
    path = make_folder(tmp_path / "a", "right").path
    assert find_file([VanishingCache(path, 3)], NAME, description).read_text() == "right"
    with pytest.raises(CheckpointMissingError, match=rf"{NAME} is missing"):
        find_file([VanishingCache(path, 9)], NAME, description)


def test_a_repository_fetches_its_files_and_renews_them_unless_the_cache_is_read_only(tmp_path, monkeypatch):
    asked = []
    path = tmp_path / "x"

    def fetch(*about, force=False):
        asked.append((*about, force))
        return path

    monkeypatch.setattr(client, "fetch", fetch)
    monkeypatch.setattr(client, "find_cached", lambda *about: None)
    repository = Repository("zoo/small", "0" * 40)
    assert repository.get(NAME) == repository.renew(NAME) == path
    expected = [("zoo/small", "0" * 40, NAME, False), ("zoo/small", "0" * 40, NAME, True)]
    assert asked == expected
    assert str(repository).startswith("zoo/small@000")
    assert str(repository).endswith("on the Hub")
    path.write_text("")
    monkeypatch.setattr(client, "find_cached", lambda *about: path)
    assert repository.renew(NAME) == path
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == tmp_path and mode == os.W_OK))
    assert repository.renew(NAME) is None
    assert len(asked) == 3


# Places of a registered checkpoint ------------------------------------------------------------------------------------


def test_the_places_of_a_registered_checkpoint_are_listed_in_their_order(small):
    registries.register(small)
    entry = registries.info("small-fc")
    installed, downloaded = list_sources(entry)
    assert installed == Folder(small.parent / "checkpoints/small-fc")
    assert downloaded == Folder(own_folder() / "checkpoints/small-fc")
    assert str(installed) == str(installed.path)


def test_the_own_folder_is_named_by_the_environment(monkeypatch, tmp_path):
    assert own_folder() == tmp_path / "memzoo"
    monkeypatch.delenv("MEMZOO_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert own_folder() == tmp_path / "cache/memzoo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert own_folder().parts[-2:] == (".cache", "memzoo")


def test_the_own_folder_may_begin_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MEMZOO_DIR", "~/mine")
    assert own_folder() == tmp_path / "mine"
    monkeypatch.setenv("MEMZOO_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cache")
    assert own_folder() == tmp_path / "cache/memzoo"
