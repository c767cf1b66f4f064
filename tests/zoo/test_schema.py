"""The JSON Schema for editors refuses what the registry refuses."""

import copy
import json

import jsonschema
import pytest
import yaml

from memzoo.cli import main
from memzoo.zoo.registry.registries import home
from memzoo.zoo.registry.schema import json_schema, json_schema_text

# one change of a sound entry each
WRONG = {
    "unknown key": lambda entry: entry.update(colour="red"),
    "unknown key in a fact": lambda entry: entry["facts"][0].update(colour="red"),
    "missing": lambda entry: entry.pop("rights"),
    "no licence": lambda entry: entry["rights"].pop("weights"),
    "a licence that is no identifier": lambda entry: entry["rights"].update(images="All rights reserved"),
    "other without a name": lambda entry: entry["rights"].pop("license_name"),
    "a name without other": lambda entry: entry["rights"].update(weights="mit"),
    "architecture": lambda entry: entry.update(architecture="D7"),
    "configuration of another architecture": lambda entry: entry["config"].update(depth=3),
    "hash": lambda entry: entry["examples"].update(sha256="abc"),
    "file": lambda entry: entry["files"].update({"evil.pkl": {"bytes": 1, "sha256": "0" * 64}}),
    "short commit": lambda entry: entry.update(hub={"repository": "a/b", "commit": "abc"}),
}


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def content():
    return yaml.safe_load((home() / "checkpoints.yaml").read_text())


def test_the_registry_follows_the_schema(validator, content):
    assert [error.message for error in validator.iter_errors(content)] == []


@pytest.mark.parametrize("what", WRONG)
def test_the_schema_refuses_a_wrong_entry(validator, content, what):
    entry = copy.deepcopy(content["cifar10-d1"])
    change = WRONG[what]
    change(entry)
    assert list(validator.iter_errors({"cifar10-d1": entry})), what


def test_the_schema_refuses_an_id_that_leads_out_of_its_folder(validator, content):
    assert list(validator.iter_errors({"../x": content["cifar10-d1"]}))


def remove_defaults(schema):
    """Return a schema without ``additionalProperties: true``, its default, which older versions of pydantic omit."""
    if isinstance(schema, list):
        return [remove_defaults(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if (key, value) != ("additionalProperties", True)}
    return {key: remove_defaults(value) for key, value in kept.items()}


def test_the_copy_for_editors_is_current(capsys):
    assert main(["schema"]) == 0
    printed = capsys.readouterr().out
    assert printed == json_schema_text()
    json.loads(printed)
    if (home() / "docs").is_dir():
        stored = json.loads((home() / "docs/_static/checkpoints.schema.json").read_text())
        assert remove_defaults(stored) == remove_defaults(json.loads(printed)), (
            "docs/_static/checkpoints.schema.json does not describe the present configurations: write it anew with "
            "`memzoo schema > docs/_static/checkpoints.schema.json`"
        )
        first_line = (home() / "checkpoints.yaml").read_text().split("\n", 1)[0]
        assert first_line == "# yaml-language-server: $schema=docs/_static/checkpoints.schema.json"
