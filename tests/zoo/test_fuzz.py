"""Two thousand files that chance has changed: each loads as what it was, or ends in an error of ours."""

import json
import re
import shutil
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import memzoo
from memzoo.errors import MemzooError, RegistryError
from memzoo.zoo.entry import Entry
from memzoo.zoo.registry.entry_check import check_entry
from memzoo.zoo.registry.registry_file import entry_yaml, parse_registry

MANY = settings(
    max_examples=1000,
    deadline=None,
    # every run tries the same files
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# numbers beyond the range of a float, and of the digits that Python converts; control characters; a path
SCALARS = ["null", "-1", "0", "1.5", ".nan", ".inf", "1e999", "9" * 5000, "true", "''", "'\\u0000'", "../../etc/passwd"]
NASTY = [
    *SCALARS,
    # tags that would build objects
    "!!python/object/apply:os.system ['true']",
    "!!python/name:os.system",
    "!!binary 'x'",
    # a date that does not exist, and values that YAML 1.1 turns into dates and numbers
    "2001-99-99",
    "2001-01-01",
    "0x",
    "0x" + "f" * 5000,
    # a mapping that holds itself, and lists so deep that a recursive reader fails
    "&a {x: *a}",
    "[" * 240 + "]" * 240,
    "[" * 300 + "]" * 300,
    "&a [*a]",
    "*gone",
    # merge keys, and keys that are no text
    "{<<: {a: 1}}",
    "{[1]: 2}",
    "{? {a: b} : c}",
    # brackets that nobody closes
    "[" * 2000,
    "{a: " * 300,
    "- x",
    "\t",
    "%YAML 9.9",
    "--- a\n---\nb",
    # names of files that no checkpoint may have
    "model.pkl",
    "/etc/passwd",
    "step-0.safetensors",
    "hf-hub:a/b",
]


@pytest.fixture(scope="module")
def text(template):
    return template.read_text()


def test_the_file_itself_is_a_registry(text, template):
    assert list(parse_registry(text, template)) == ["small-fc"]


@MANY
@given(data=st.data())
def test_a_changed_registry_that_is_read_can_be_shown(data, text, template):
    changed = text
    for _ in range(data.draw(st.integers(1, 3))):
        changed = data.draw(st.sampled_from([_in_config, _put, _value, _key]))(data, changed)
    try:
        for entry in parse_registry(changed, template).values():
            assert json.loads(entry.model_dump_json()) == entry.model_dump(mode="json")
            assert parse_registry(entry_yaml(entry), template) == {entry.id: entry}
    except RegistryError:
        return


@MANY
@given(data=st.data())
def test_a_changed_registry_is_one_still_or_a_clear_error(data, text, template):
    changed = text
    for _ in range(data.draw(st.integers(1, 3))):
        changed = data.draw(st.sampled_from([_cut, _put, _value, _key, _line]))(data, changed)
    try:
        entries = parse_registry(changed, template)
        for entry in entries.values():
            check_entry(entry, template)
    except MemzooError as error:
        if str(template) not in str(error):
            raise AssertionError("the message does not name the file") from error
        return
    for id, entry in entries.items():
        assert isinstance(entry, Entry)
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", id)
        assert all("/" not in name and "\\" not in name and ".." not in name for name in entry.files)


def _cut(data, text):
    start = data.draw(st.integers(0, len(text)))
    return text[:start] + text[start + data.draw(st.integers(1, 200)) :]


def _in_config(data, text):
    """Give the configuration, which nobody checks before it is used, one more field."""
    place = re.search("  config:\n", text)
    if place is None:
        return text
    at = place.end()
    name = data.draw(st.sampled_from(["a", "b", "c"]))
    return f"{text[:at]}    {name}: {data.draw(st.sampled_from(NASTY))}\n{text[at:]}"


def _put(data, text):
    at = data.draw(st.integers(0, len(text)))
    return text[:at] + data.draw(st.one_of(st.sampled_from(NASTY), st.text(max_size=12))) + text[at:]


def _value(data, text):
    places = [match.span(1) for match in re.finditer(r": ([^\s{\[,}]+)", text)]
    if not places:
        return text
    start, end = data.draw(st.sampled_from(places))
    return text[:start] + data.draw(st.sampled_from(NASTY)) + text[end:]


def _key(data, text):
    places = [match.span(1) for match in re.finditer(r"(\w+):", text)]
    if not places:
        return text
    start, end = data.draw(st.sampled_from(places))
    new = data.draw(
        st.one_of(st.sampled_from(["step-9.safetensors", "../x", "evil.pkl", "1", "~"]), st.text(max_size=8))
    )
    return text[:start] + new + text[end:]


def _line(data, text):
    lines = text.split("\n")
    at = data.draw(st.integers(0, len(lines) - 1))
    kind = data.draw(st.sampled_from(["twice", "gone", "deeper", "shallower"]))
    change = {"twice": [lines[at]] * 2, "gone": [], "deeper": ["  " + lines[at]], "shallower": [lines[at][2:]]}[kind]
    return "\n".join([*lines[:at], *change, *lines[at + 1 :]])


@pytest.fixture(scope="module")
def folder(template, tmp_path_factory):
    """Write a checkpoint whose files may be damaged; no hashes guard it."""
    return shutil.copytree(template.parent / "checkpoints/small-fc", tmp_path_factory.mktemp("fuzz") / "small-fc")


# around the ends of 32 and 64 bit integers, and beyond
NUMBERS = st.one_of(
    st.integers(-5, 5), st.integers(0, 2**64), st.sampled_from([2**31, 2**63 - 1, 2**63, 2**80, 10**30])
)
HEADER_VALUES = st.one_of(
    NUMBERS,
    st.lists(NUMBERS, max_size=4),
    st.sampled_from(["F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F8_E8M0", "F4", "C64", "F999", "", None]),
    st.text(max_size=5),
)


def change_tensor(data, content):
    """Change the header of one tensor, of the parsed header of a safetensors file."""
    tensor = data.draw(st.sampled_from(sorted(content)))
    match data.draw(st.sampled_from(["field", "drop", "rename", "add", "nest", "metadata"])):
        case "field" if isinstance(content[tensor], dict):
            field = data.draw(st.sampled_from(["dtype", "shape", "data_offsets", "x"]))
            content[tensor][field] = data.draw(HEADER_VALUES)
        case "drop" if len(content) > 1:
            del content[tensor]
        case "rename":
            content[data.draw(st.text(max_size=6))] = content.pop(tensor)
        case "add":
            content[data.draw(st.text(max_size=6))] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        case "nest":
            content[tensor] = data.draw(HEADER_VALUES)
        case _:
            content["__metadata__"] = {"a": data.draw(HEADER_VALUES)}


def change_file(data, original):
    """Return the bytes of a safetensors file with a changed tensor, header, length of the header or body."""
    # a safetensors file: 8 bytes with the length of the header, the header as JSON, the numbers
    (size,) = struct.unpack("<Q", original[:8])
    match data.draw(st.sampled_from(["json", "bytes", "length", "body"])):
        case "json":
            content = json.loads(original[8 : 8 + size])
            for _ in range(data.draw(st.integers(1, 2))):
                change_tensor(data, content)
            header = json.dumps(content).encode()
            return struct.pack("<Q", len(header)) + header + original[8 + size :]
        case "bytes":
            at = data.draw(st.integers(0, size - 1))
            return original[: 8 + at] + data.draw(st.binary(min_size=1, max_size=4)) + original[9 + at :]
        case "length":
            length = data.draw(st.one_of(st.integers(0, 2 * size), st.integers(0, 2**64 - 1)))
            return struct.pack("<Q", length) + original[8:]
        case _:
            keep = data.draw(st.integers(0, len(original) - 1))
            return original[:keep] + data.draw(st.binary(max_size=16))


@MANY
@given(data=st.data())
def test_a_changed_header_of_safetensors_is_noticed(data, folder, template):
    name = data.draw(st.sampled_from(["model.safetensors", "examples.safetensors"]))
    original = (template.parent / "checkpoints/small-fc" / name).read_bytes()
    changed = change_file(data, original)
    path = folder / name
    path.write_bytes(changed)
    try:
        model = memzoo.load(f"local-dir:{folder}")
    except MemzooError:
        pass
    else:
        ours = memzoo.load(f"local-dir:{template.parent / 'checkpoints/small-fc'}")
        for key, value in model.state_dict().items():
            assert value.shape == ours.state_dict()[key].shape
            assert value.isfinite().all()
        assert model.examples.dtype == torch.float32
    finally:
        path.write_bytes(original)
