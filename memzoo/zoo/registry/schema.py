"""Derive the JSON Schema of a registry file, with which an editor checks and completes entries."""

import json
from typing import Any

from pydantic import TypeAdapter

from memzoo.zoo.entry import FILE, ID, Entry


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a registry file, for editors.

    In it the architecture of an entry decides what its configuration may hold.
    """
    from memzoo.models import ARCHITECTURES  # imports torch

    configs = {name: architecture.config_class for name, architecture in sorted(ARCHITECTURES.items())}
    kinds = (Entry, *configs.values())
    _, schemas = TypeAdapter.json_schemas([(kind, "validation", TypeAdapter(kind)) for kind in kinds])
    definitions = schemas["$defs"]
    _adapt_to_files(definitions["Entry"], configs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "memzoo registry",
        "description": "Checkpoints by id.",
        "type": "object",
        "propertyNames": {"pattern": ID},
        "additionalProperties": {"$ref": "#/$defs/Entry"},
        "$defs": definitions,
    }


def _adapt_to_files(entry: dict[str, Any], configs: dict[str, type]) -> None:
    """Change the schema that pydantic derives from :class:`Entry` into that of an entry in a file."""
    properties = entry["properties"]
    # In a file the id is the key of the entry.
    del properties["id"]
    entry["required"].remove("id")
    properties["files"] |= {
        "patternProperties": {FILE: {"$ref": "#/$defs/File"}},
        "additionalProperties": False,
    }
    properties["architecture"] = {"enum": list(configs)}
    entry["allOf"] = [
        {
            "if": {"properties": {"architecture": {"const": name}}},
            "then": {"properties": {"config": {"$ref": f"#/$defs/{config.__name__}"}}},
        }
        for name, config in configs.items()
    ]


def json_schema_text() -> str:
    """Return the text of :func:`json_schema` as it is stored in the documentation."""
    return json.dumps(json_schema(), indent=1, sort_keys=True) + "\n"
