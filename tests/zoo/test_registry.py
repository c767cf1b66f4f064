import inspect
import re
import sys
from typing import get_args

import pytest

import memzoo
from memzoo.cli import main
from memzoo.data import DISTRIBUTIONS, FORMULAS
from memzoo.errors import RegistryError
from memzoo.zoo.entry import Distribution, Formula, Images
from memzoo.zoo.registry.registries import home
from memzoo.zoo.registry.registry_file import entry_yaml, read_registry, replace_entry, split_numbers


def test_models_are_listed_by_id_and_not_by_alias():
    names = memzoo.list_models()
    # table1-1 is an alias
    assert {"cifar10-d1", "mnist20-fc14x128", "table1-1"} - set(names) == {"table1-1"}


def test_models_are_listed_in_natural_order():
    singles = memzoo.list_models("normal2-3x3-conv?x1")
    assert singles == [f"normal2-3x3-conv{layers}x1" for layers in (2, 3, 5, 8)]
    assert memzoo.list_models("normal2-3x3-conv2x*")[-1] == "normal2-3x3-conv2x128"


def test_models_are_listed_by_pattern_architecture_dataset_and_figure():
    assert memzoo.list_models("cifar10-d?") == ["cifar10-d1", "cifar10-d2"]
    assert memzoo.list_models(architecture="UNet") == ["cifar10-unet"]
    assert memzoo.list_models(dataset="cifar10", figure="fig7") == ["cifar10-d1"]
    assert memzoo.list_models("nothing-*") == []


def test_natural_order_compares_numbers_as_numbers():
    expected = ["a-3x4", "a-3x12", "d", "d2", "d10"]
    assert sorted(["d10", "d2", "a-3x12", "a-3x4", "d"], key=split_numbers) == expected


def test_indices_may_be_a_range():
    images = Images(dataset="mnist", split="test", indices="3:6", sha256="0" * 64)
    assert images.positions() == [3, 4, 5]


def change_registry(tmp_path, old, new):
    """Return a copy of the registry file in which one text is replaced."""
    text = (home() / "checkpoints.yaml").read_text()
    assert old in text
    path = tmp_path / "checkpoints.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  title:",
            "  titel:",
            r"entry 'cifar10-d1' does not follow the schema: .*titel: Extra inputs are not permitted",
        ),
        ("architecture: D1", "architecture: D7", r"architecture 'D7' is none of ConvAutoencoder, D1, D2,"),
        ("activation: linear", "activation: lineer", r"activation.*'linear' or 'leaky_relu'"),
        ("sha256: ", "sha256: x", r"sha256.*should match pattern"),
        ("cifar10-d1:", "cifar10-d1: 3\nother:", r"entry 'cifar10-d1' must be a mapping, got int"),
        ("cifar10-d1:", "cifar10-d1: [", r"not readable as YAML"),
        (
            "aliases: [fig7]",
            "aliases: [mnist20-fc14x128]",
            r"alias 'mnist20-fc14x128' of entry 'cifar10-d1' is the name",
        ),
        ("  title: ", "  architecture: D1\n  title: ", r"key 'architecture' stands twice"),
        ("cifar10-d1:", "../../etc:", r"entry '\.\./\.\./etc' does not follow the schema: id: String should match"),
        ("cifar10-d1:", "7:", r"ids must be text, got \[7\]"),
        # files that could run code, or lie outside of the folder
        ("    model.safetensors: {", "    model.pkl: {", r"files\.model\.pkl.*may be a pickle, which can run code"),
        (
            "    model.safetensors: {",
            "    ../model.safetensors: {",
            r"is no file of a checkpoint: there are model\.saf",
        ),
        ("    model.safetensors: {", "    /etc/passwd: {", r"'/etc/passwd' is no file of a checkpoint"),
        ("args: {rank: 1}", "args: {bogus: 3}", r"args do not fit the measure 'eigenvalue': .*bogus|missing"),
        ("  fingerprint:\n    values: [", "  fingerprint:\n    values: [0.0, ", r"fingerprint\.values: .* at most 8"),
        ("measure: eigenvalue", "measure: eigenvalues", r"no measure 'eigenvalues', there are arrived"),
        (
            "dataset: cifar10",
            "dataset: imagenet",
            r"dataset: Input should be 'mnist', 'cifar10', 'normal', 'sphere', 'uniform', 'line'",
        ),
    ],
)
def test_a_broken_registry_names_entry_and_field(tmp_path, old, new, message):
    path = change_registry(tmp_path, old, new)
    with pytest.raises(RegistryError, match=f"(?s){re.escape(str(path))}.*{message}"):
        memzoo.register(path)


WRONG_IN_DEPTH = [
    ("architecture: FullyConnected", "architecture: D7", r"architecture 'D7' is none of ConvAutoencoder, D1, D2,"),
    ("depth: ", "depht: ", r"config\.depht: Extra inputs are not permitted"),
    ("measure: mean_squared_error", "measure: mean_error", r"facts\.0\.measure: no measure 'mean_error'"),
    ("measure: mean_squared_error", "measure: eigenvalue", r"facts\.0: args do not fit the measure 'eigenvalue'"),
]
UNKNOWN_ARCHITECTURE = WRONG_IN_DEPTH[0]
USES = {
    "load": lambda path: memzoo.load("small-fc"),
    "load a step": lambda path: memzoo.load("small-fc", step=100),
    "load a folder": lambda path: memzoo.load(f"local-dir:{path.parent / 'checkpoints/small-fc'}"),
    "create": lambda path: memzoo.create("small-fc"),
    "verify": lambda path: memzoo.verify("small-fc"),
    "compare": lambda path: memzoo.zoo.compare_with_hub("small-fc"),
    "train": lambda path: memzoo.zoo.train("small-fc", path.parent / "runs"),
    "publish": lambda path: memzoo.publish("small-fc", "someone/small-fc", dry_run=True),
    "download": lambda path: memzoo.download("small-fc", path.parent / "there"),
    "replace": lambda path: replace_entry(memzoo.info("small-fc"), path),
    "record": lambda path: memzoo.zoo.record(path.parent / "checkpoints/small-fc", path),
    "register": lambda path: memzoo.register(path),
}


@pytest.mark.parametrize(
    ("use", "wrong"),
    [*((use, UNKNOWN_ARCHITECTURE) for use in USES), *(("create", wrong) for wrong in WRONG_IN_DEPTH[1:])],
)
def test_an_entry_that_can_be_listed_and_not_built_or_measured_is_refused_by_every_use(small, monkeypatch, use, wrong):
    old, new, message = wrong
    text = small.read_text()
    assert old in text
    small.write_text(text.replace(old, new, 1))
    (small.parent / "checkpoints/small-fc/entry.yaml").write_text(small.read_text())
    if use != "register":
        monkeypatch.setenv("MEMZOO_REGISTRIES", str(small))
        assert memzoo.info("small-fc").id in memzoo.list_models()
    before = sorted(small.parent.rglob("*"))
    with pytest.raises(RegistryError, match=rf"{small.parent}.*\.yaml: entry 'small-fc' does not follow.*{message}"):
        USES[use](small)
    # a refusal leaves nothing half-written
    assert sorted(small.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("!!binary '//8='", r"config\.a: input was not a valid JSON value"),
        ("2001-01-01", r"config\.a: input was not a valid JSON value"),
        (
            "&a {x: *a}",
            r"not readable as YAML: lists and mappings are nested more than 64 deep, or one contains itself",
        ),
        (
            "[" * 300 + "]" * 300,
            r"not readable as YAML: lists and mappings are nested more than 64 deep",
        ),
        ("0x" + "f" * 5000, r"not readable as YAML: the number 0xf+\.\.\. has more than 40 digits"),
    ],
)
@pytest.mark.parametrize("command", [["list", "--json"], ["info", "small-fc"], ["info", "small-fc", "--json"]])
def test_a_configuration_that_is_no_json_is_refused_before_it_is_shown(small, capsys, value, message, command):
    add_to_config(small, value)
    assert main(["--registry", str(small), *command]) == 1
    assert re.search(f"memzoo: {re.escape(str(small))}.*{message}", capsys.readouterr().err)


def add_to_config(path, value):
    """Add a field with this value, written in YAML, to the configuration in a registry file."""
    path.write_text(path.read_text().replace("  config:\n", f"  config:\n    a: {value}\n", 1))


def test_a_configuration_that_is_too_deep_for_yaml_is_a_clear_error(small):
    depth = 58
    add_to_config(small, "[" * depth + "]" * depth)
    entry = read_registry(small)["small-fc"]

    def write_deep_in_the_stack(levels):
        return entry_yaml(entry) if levels == 0 else write_deep_in_the_stack(levels - 1)

    with pytest.raises(RegistryError, match=r"entry 'small-fc': config is nested too deeply to be written as YAML"):
        # so deep in the stack, the recursive writer of YAML runs out of it
        write_deep_in_the_stack(sys.getrecursionlimit() - len(inspect.stack()) - 100)


def test_a_wrong_field_of_a_configuration_is_named(small, monkeypatch):
    small.write_text(small.read_text().replace("depth: ", "depht: ", 1))
    monkeypatch.setenv("MEMZOO_REGISTRIES", str(small))
    with pytest.raises(RegistryError, match=r"entry 'small-fc' does not follow .* config\.depht: Extra inputs"):
        memzoo.info("small-fc").architecture_config()


def test_the_schema_and_the_data_know_the_same_names():
    assert get_args(Distribution) == DISTRIBUTIONS
    assert get_args(Formula) == FORMULAS


def test_a_registry_must_be_a_mapping(tmp_path):
    (tmp_path / "checkpoints.yaml").write_text("- a\n- b\n")
    with pytest.raises(RegistryError, match="must map ids to entries, got list"):
        read_registry(tmp_path / "checkpoints.yaml")


def test_yaml_cannot_run_code(tmp_path):
    (tmp_path / "checkpoints.yaml").write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(RegistryError, match="not readable as YAML"):
        read_registry(tmp_path / "checkpoints.yaml")


def test_one_entry_is_replaced_although_empty_lines_are_in_it(tmp_path):
    text = (home() / "checkpoints.yaml").read_text()
    path = tmp_path / "checkpoints.yaml"
    block = text.index("cifar10-d1:")
    facts = text.index("  facts:", block)
    path.write_text(text[:facts] + "\n" + text[facts:])
    entry = memzoo.info("cifar10-d1").model_copy(update={"title": "Another"})
    expected = {id: memzoo.info(id) for id in memzoo.list_models()} | {"cifar10-d1": entry}
    replace_entry(entry, path)
    assert read_registry(path) == expected
    assert "\n\nmnist20-fc14x128:" in path.read_text()
