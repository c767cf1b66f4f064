"""JSON and YAML of a stranger are read within limits, or refused in one line, in time that grows as the text does."""

import json
import os
import re

import pytest

from memzoo._reading import documents, parse_plain_yaml, read_json_object
from memzoo.errors import CorruptCheckpointError, StorageError

SOUND = {"a": [1, -2.5, 1.5e300, None, True, "text"], "b": {"c": "\u00e9\U0001f600", "": {}}}


def test_what_json_writes_is_read_as_it_was(tmp_path):
    path = tmp_path / "x.json"
    for options in ({}, {"indent": 2}, {"ensure_ascii": False}):
        path.write_text(json.dumps(SOUND, **options), encoding="utf-8")
        assert read_json_object(path) == SOUND
    assert parse_plain_yaml(json.dumps(SOUND, ensure_ascii=False)) == SOUND


def nest(depth, opening, closing):
    return opening * depth + "1" + closing * depth


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no JSON: Expecting value"),
        (b"[1]", "holds a list; it must be one JSON object"),
        (b'"text"', "holds a str"),
        (b"\xff\xfe{}", "is no JSON: 'utf-8' codec"),
        (b'{"a": 1, "b": {"a": 1}, "a": 1}', "key 'a' stands twice"),
        (b'{"a": [{"b": {}, "b": {}}]}', "key 'b' stands twice"),
        (b'{"a": -' + b"9" * 41 + b"}", "has 42 digits, more than 40"),
        (b'{"a": 0.' + b"1" * 10**6 + b"}", "has 1000002 characters, more than 400"),
        (b'{"a": ' + nest(65, "[", "]").encode() + b"}", "nested more than 64 deep"),
        (nest(65, '{"a": ', "}").encode(), "nested more than 64 deep"),
        (nest(10**6, '{"a":', "}").encode(), "is no JSON: "),
        (b'{"a": "' + b"x" * 100_001 + b'"}', "has 100,001 characters, more than 100,000"),
        (b'{"' + b"x" * 100_001 + b'": 1}', "has 100,001 characters, more than 100,000"),
        (b'{"\\udfff": 1}', r"'\\udfff' holds half of a surrogate pair"),
        (b'{"a": ["b", "\\ud83d"]}', r"'\\ud83d' holds half of a surrogate pair"),
        (b'{"a": [' + b"{}," * 50_000 + b"{}]}", "more than 50,000 values"),
        (b"{}" + b" " * 8_000_000, "more than 8,000,000 bytes"),
    ],
    ids=lambda value: value[:16] if isinstance(value, str) else None,
)
def test_json_beyond_the_limits_is_refused(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match=rf"x\.json .*{message}") as caught:
        read_json_object(path)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_limits_themselves_are_allowed(tmp_path):
    path = tmp_path / "x.json"
    for content in (nest(64, '{"a": ', "}"), '{"a": ' + "9" * 40 + "}", '{"a": "' + "x" * 100_000 + '"}'):
        path.write_text(content)
        assert read_json_object(path) == json.loads(content)
        assert parse_plain_yaml(content) == json.loads(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "did not find expected"),
        ("a: {b: {c: 1, c: 1}}", "key 'c' stands twice, in the mapping that begins in line 1"),
        ("a: 1\n? a\n: 2", "key 'a' stands twice"),
        ("a: " + "9" * 41, "more than 40 digits"),
        ("a: 0x" + "f" * 41, "more than 40 digits"),
        ("a: 1" + ":59" * 30000, "more than 40 digits"),
        ("a: 1" + ":59" * 30000 + ".5", "more than 400 characters"),
        ("a: !!int '" + "9" * 10**5 + "'", "more than 40 digits"),
        ("a: " + nest(65, "[", "]"), "nested more than 64 deep"),
        ("[" * 10**6, "exceeded maximum nesting depth"),
        ("\n".join(" " * depth + "a:" for depth in range(70)), "nested more than 64 deep"),
        ("a: " + "x" * 100_001, "has 100,001 characters"),
        ("[" + "a," * 130_000 + "]", "more than 120,000 values"),
        ("#" * 8_000_001, "more than 8,000,000 characters"),
        (f"{{{2**61 - 1}: 1}}", "is too large"),
        ("a: &x 1\nb: *x", "uses YAML aliases"),
        ("? [1]\n: 2", "unhashable key"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: 2001-13-40", "month must be in 1..12"),
        ("a: !!bool x", "'x'"),
        ("a: !!timestamp x", "'NoneType' object"),
        ("a: !!int x", "invalid literal"),
        ("a: !!binary x", "failed to decode base64"),
    ],
    ids=lambda value: value[:16],
)
def test_yaml_beyond_the_limits_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_plain_yaml(text, aliases=False)


def test_an_alias_stands_for_its_value():
    assert parse_plain_yaml("a: &x {b: [1]}\nc: *x\nd: {<<: *x, e: 2}\nf: {<<: *x, b: 3}") == {
        "a": {"b": [1]},
        "c": {"b": [1]},
        "d": {"b": [1], "e": 2},
        "f": {"b": 3},
    }


def repeat(count, times):
    """Return lists of which each holds the one before many times."""
    lines = ["a0: &a0 1", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * times)}]" for n in range(1, count))]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (repeat(12, 9), "more than 120,000 values, those that aliases stand for written out"),
        ("x: &x {a: 1}\ny: {<<: [" + "*x, " * 100_000 + "*x]}", "more than 120,000 values"),
        (repeat(70, 1), "nested more than 64 deep"),
        ("a: &a [*a]", "or one contains itself"),
        ("a: &a {<<: *a}", "or one contains itself"),
        ("a: *" + "x" * 10_000, "found undefined alias"),
        ("a: !" + "x" * 10_000 + " 1", "could not determine a constructor"),
        ("a: [1\nb: 2", "did not find expected"),
    ],
    ids=lambda value: value[:12],
)
def test_what_aliases_stand_for_counts_and_messages_are_one_short_line(text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_plain_yaml(text)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", ["{key}: 1\n", '"{key}": 1,\n'])
def test_the_cost_grows_as_the_number_of_keys_does(tmp_path, write, monkeypatch):
    # Comparisons of keys are counted and not timed: a set compares a new key only with those of the same hash.
    compared = 0

    class Key(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other):
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    lines = "".join(write.format(key=f"key{number}") for number in range(3000))
    monkeypatch.setattr(documents.json, "loads", lambda text, object_pairs_hook, **_: object_pairs_hook(pairs))
    pairs = [(Key(f"key{number}"), 1) for number in range(3000)]
    if write.startswith('"'):
        path = tmp_path / "x.json"
        path.write_text("{" + lines.rstrip(",\n") + "}")
        assert len(read_json_object(path)) == 3000
    else:
        monkeypatch.setattr(documents._StrictLoader, "construct_yaml_str", lambda _, node: Key(node.value))
        monkeypatch.setitem(
            documents._StrictLoader.yaml_constructors,
            "tag:yaml.org,2002:str",
            documents._StrictLoader.construct_yaml_str,
        )
        assert len(parse_plain_yaml(lines)) == 3000
    assert compared < 100


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "missing"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, kind):
    path = tmp_path / "x.json"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
    error = StorageError if kind == "missing" else CorruptCheckpointError
    message = "cannot be read: No such file" if kind == "missing" else f"is a {kind} in the place of a file"
    with pytest.raises(error, match=message):
        read_json_object(path)
