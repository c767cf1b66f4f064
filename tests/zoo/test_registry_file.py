"""A registry file is read as a whole or refused, and replaced as a whole or left as it was."""

import os
from pathlib import Path

import pytest

import memzoo
from memzoo.errors import CheckpointMissingError, RegistryError, StorageError
from memzoo.zoo.registry.registry_file import (
    check_replaceable,
    entry_yaml,
    parse_entry,
    parse_yaml,
    read_registry,
)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "r.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(RegistryError, match=r"r\.yaml is not readable as YAML: .*utf-8"):
        read_registry(tmp_path / "r.yaml")


def test_a_registry_is_read_again_when_it_has_changed(small):
    assert read_registry(small) is read_registry(small)
    before = read_registry(small)["small-fc"].title
    small.write_text(small.read_text().replace(f"title: {before}", f"title: {before} and changed"))
    assert read_registry(small)["small-fc"].title == f"{before} and changed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "key 'a' stands twice"),
        ("a: {b: 1, b: 1}", "key 'b' stands twice"),
        ("a: 2001-13-40", "is not readable as YAML"),
        ("[" * 5000, "is not readable as YAML"),
        ("", "must map ids to entries, got NoneType"),
    ],
)
def test_text_that_is_no_registry_is_refused(text, message):
    with pytest.raises(RegistryError, match=message):
        parse_yaml(text, Path("r.yaml"))


def test_an_entry_that_is_nested_too_deeply_is_refused():
    deep = {}
    for _ in range(100000):
        deep = {"a": deep}
    with pytest.raises(RegistryError, match=r"r\.yaml: entry 'x' (is nested too deeply|does not follow the schema)"):
        parse_entry("x", {"config": deep}, Path("r.yaml"))


def test_the_block_of_an_entry_begins_at_its_id_which_may_be_quoted(small):
    text = small.read_text()
    lines, head = check_replaceable("small-fc", small)
    assert lines[head] == "small-fc:"
    assert "\n".join(lines) == text
    small.write_text(text.replace("small-fc:", "'small-fc':"))
    assert check_replaceable("small-fc", small)[1] == head


def test_only_a_single_block_of_a_name_can_be_replaced(small):
    text = small.read_text()
    for content, count in ((text.replace("small-fc:", "other:"), 0), (text + text, 2)):
        small.write_text(content)
        with pytest.raises(RegistryError, match=rf"has {count} blocks that begin with 'small-fc:', needs exactly one"):
            check_replaceable("small-fc", small)


def test_a_file_that_is_missing_or_read_only_cannot_be_replaced(small, monkeypatch):
    with pytest.raises(CheckpointMissingError, match="is missing; give the root of a memzoo source tree"):
        check_replaceable("small-fc", small.parent / "gone.yaml")
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == small.parent and mode == os.W_OK))
    with pytest.raises(StorageError, match="cannot be replaced, its folder is read-only; nothing was changed"):
        check_replaceable("small-fc", small)


def test_an_entry_that_is_written_can_be_read_again(small):
    memzoo.register(small)
    entry = memzoo.info("small-fc")
    content = parse_yaml(entry_yaml(entry), small)["small-fc"]
    assert content["steps"].keys() == {100, 200}
    assert parse_entry("small-fc", content, small) == entry
    without_steps = entry.model_copy(update={"steps": {}})
    assert "steps" not in parse_yaml(entry_yaml(without_steps), small)["small-fc"]


@pytest.mark.parametrize("kind", ["loop", "nobody", "pipe", "large"])
def test_a_registry_that_is_no_file_is_refused_without_waiting(tmp_path, kind):
    path = tmp_path / "r.yaml"
    match kind:
        case "loop":
            path.symlink_to(path)
        case "nobody":
            path = Path("~no-such-user/r.yaml")
        case "pipe":
            os.mkfifo(path)
        case "large":
            path.write_bytes(b"#" * 8_000_001)
    with pytest.raises(RegistryError, match=r"cannot be found|is missing|more than 8,000,000 bytes"):
        memzoo.register(path)
