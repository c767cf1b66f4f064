"""Registries of others are found by path, by the environment, and by an installed package."""

import os
import re
import shutil
import sys
from importlib.metadata import EntryPoint

import pytest

import memzoo
from memzoo.cli import main
from memzoo.errors import RegistryError, UnknownCheckpointError
from memzoo.zoo.registry import registries


def test_a_file_may_be_registered_twice(small):
    assert memzoo.register(small) == ["small-fc"]
    assert memzoo.register(small) == ["small-fc"]
    assert memzoo.list_models().count("small-fc") == 1


def test_a_registered_file_is_searched_like_our_own(small):
    with pytest.raises(UnknownCheckpointError, match="no checkpoint 'small-fc'"):
        memzoo.load("small-fc")
    memzoo.register(small)
    alias = "small"
    assert "small-fc" in memzoo.list_models(dataset="mnist")
    assert memzoo.load(alias).entry.title == "Small"
    assert memzoo.verify("small-fc").verdict == "verified"
    assert memzoo.create("small-fc").config.width == 4


def test_a_file_that_the_environment_names_is_a_registry(small, monkeypatch):
    # an empty name, as a trailing separator leaves it, is no registry
    monkeypatch.setenv("MEMZOO_REGISTRIES", os.pathsep.join([str(small), ""]))
    assert memzoo.info("small-fc").id == "small-fc"
    monkeypatch.setenv("MEMZOO_REGISTRIES", str(small.parent / "gone.yaml"))
    with pytest.raises(RegistryError, match=r"gone\.yaml is missing"):
        memzoo.list_models()


def test_the_command_line_takes_one_more_registry(small, capsys):
    assert main(["--registry", str(small), "info", "small-fc"]) == 0
    assert capsys.readouterr().out.startswith("small-fc:\n")
    assert main(["--registry", str(small.parent / "gone.yaml"), "list"]) == 1
    assert "gone.yaml is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title:", "titel:", "titel: Extra inputs are not permitted"),
        ("small-fc:", "cifar10-d1:", "'cifar10-d1' is in two registries, "),
        ("aliases: [small]", "aliases: [fig7]", "alias 'fig7' of entry 'small-fc' is the name of another"),
        ("aliases: [small]", "aliases: [cifar10-d1]", "alias 'cifar10-d1' of entry"),
    ],
)
def test_a_broken_file_or_a_name_that_is_taken_registers_nothing(small, old, new, message):
    text = small.read_text()
    assert old in text
    small.write_text(text.replace(old, new))
    with pytest.raises(RegistryError, match=message):
        memzoo.register(small)
    assert "small-fc" not in memzoo.list_models()


@pytest.fixture
def install(small, tmp_path, monkeypatch):
    """Return a function that installs a package whose entry points have the given values."""
    folder = tmp_path / "site/their_nets"
    folder.parent.mkdir()
    small.parent.rename(folder)
    (folder / "registry.yaml").rename(folder / "checkpoints.yaml")
    (folder / "__init__.py").write_text(
        "from pathlib import Path\n"
        "path = Path(__file__).with_name('checkpoints.yaml')\n"
        "def find():\n    return str(path)\n"
    )
    monkeypatch.syspath_prepend(folder.parent)

    def install_with(*values):
        points = [EntryPoint(name=f"their-{value}", value=value, group=registries.GROUP) for value in values]
        monkeypatch.setattr(registries, "entry_points", lambda group: points if group == registries.GROUP else [])
        # the entry points of packages are read once in a process
        registries._list_registries_of_packages.cache_clear()

    yield install_with
    registries._list_registries_of_packages.cache_clear()
    sys.modules.pop("their_nets", None)


@pytest.mark.parametrize("value", ["their_nets", "their_nets:path", "their_nets:find"])
def test_an_entry_point_may_be_a_package_a_path_or_a_function(install, value):
    install(value)
    assert memzoo.load("small-fc").config.width == 4


def test_a_broken_entry_point_is_left_out_with_a_warning(install):
    install("their_nets:nothing", "not_installed", "their_nets")
    with pytest.warns(UserWarning, match=r"registry 'their-.*' of an installed package .* is left out") as warned:
        assert "small-fc" in memzoo.list_models()
    assert len(warned) == 2
    assert "cifar10-d1" in memzoo.list_models()


def test_a_known_checkpoint_without_files_names_the_three_places_and_what_to_do(small, tmp_path, monkeypatch):
    clone = small.parent.rename(tmp_path / "clone")
    small.parent.mkdir()
    shutil.copy(clone / small.name, small)
    memzoo.register(small)
    places = (
        rf"beside its registry \(no folder {re.escape(str(small.parent / 'checkpoints/small-fc'))}.* in MEMZOO_DIR "
        rf"\(no folder .*/memzoo/checkpoints/small-fc\), on the Hub \(its entry names no repository there\)"
    )
    remedies = r"Set MEMZOO_DIR to a clone .* `memzoo download small-fc --to DIR` .* `memzoo train small-fc`"
    with pytest.raises(memzoo.errors.CheckpointMissingError, match=f"{places}.*{remedies}"):
        memzoo.load("small-fc")
    monkeypatch.setenv("MEMZOO_DIR", str(clone))
    assert memzoo.load("small-fc").config.width == 4
    monkeypatch.delenv("MEMZOO_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    message = r"in MEMZOO_DIR, which is not set \(no folder .*/cache"
    with pytest.raises(memzoo.errors.CheckpointMissingError, match=message):
        memzoo.load("small-fc")


def test_a_checkpoint_that_is_not_on_the_hub_has_no_revisions(small):
    memzoo.register(small)
    with pytest.raises(memzoo.errors.CheckpointMissingError, match="is not on the Hub, so it has no revisions"):
        memzoo.load("small-fc@v1")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf-hub:nobody", "'nobody' is no repository of the Hub: it must be 'organisation/name'"),
        ("hf-hub:a/../b", "is no repository of the Hub"),
        ("hf-hub:../../etc/passwd", "is no repository of the Hub"),
        ("hf-hub:a/b@", "names the revision '', which is none"),
        ("hf-hub:a/b@../x", "names the revision '../x', which is none"),
        ("cifar10-d1@", "names the revision ''"),
        ("cifar10-d1@-x", "names the revision '-x'"),
        ("ftp:a/b", "no checkpoint 'ftp:a/b'"),
    ],
)
def test_a_name_that_no_checkpoint_can_have_is_refused(name, message):
    with pytest.raises(UnknownCheckpointError, match=re.escape(message)):
        memzoo.load(name)
