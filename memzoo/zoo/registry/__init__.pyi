# The names that registry re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.registry.entry_check.
from . import entry_check as entry_check
from . import files as files
from . import reference as reference
from . import registries as registries
from . import registry_file as registry_file
from . import reproduction as reproduction
from . import schema as schema
from . import writing as writing
from .entry_check import check_entry
from .files import (
    CARD,
    CURVE,
    ENTRY,
    PICTURES,
    TRAJECTORIES,
    SavedConfig,
    add_hashes,
    check_config,
    check_file,
    check_tensors,
    config_text,
    describe,
    read_config,
    read_tensors,
    refuse_numbers_as_text,
    refuse_pickles,
)
from .reference import ById, InFolder, OnHub, check_repository, is_commit, parse_reference
from .registries import add_registry, did_you_mean, find_registry, registry, require_entry
from .registry_file import (
    check_replaceable,
    entry_yaml,
    insert_entry,
    parse_registry,
    replace_entry,
)
from .reproduction import object_to_denial
from .schema import json_schema_text
from .writing import check_writable, explain_write_errors, write_aside, write_text

__all__ = [
    "CARD",
    "CURVE",
    "ENTRY",
    "PICTURES",
    "TRAJECTORIES",
    "ById",
    "InFolder",
    "OnHub",
    "SavedConfig",
    "add_hashes",
    "add_registry",
    "check_config",
    "check_entry",
    "check_file",
    "check_replaceable",
    "check_repository",
    "check_tensors",
    "check_writable",
    "config_text",
    "describe",
    "did_you_mean",
    "entry_yaml",
    "explain_write_errors",
    "find_registry",
    "insert_entry",
    "is_commit",
    "json_schema_text",
    "object_to_denial",
    "parse_reference",
    "parse_registry",
    "read_config",
    "read_tensors",
    "refuse_numbers_as_text",
    "refuse_pickles",
    "registry",
    "replace_entry",
    "require_entry",
    "write_aside",
    "write_text",
]
