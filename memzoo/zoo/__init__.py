"""The model zoo: registries of trained checkpoints, loaded with every check, verified fact by fact, published."""

from memzoo.zoo.comparison import Difference, compare_with_hub, extra_repositories
from memzoo.zoo.downloading import download
from memzoo.zoo.entry import Entry, Fact
from memzoo.zoo.history import History, read_history
from memzoo.zoo.loading import create, is_available, load
from memzoo.zoo.pictures import draw_training
from memzoo.zoo.publishing import Publication, publish
from memzoo.zoo.registry import checkpoints_of, info, list_models, register
from memzoo.zoo.registry_file import entry_yaml, json_schema
from memzoo.zoo.saving import save
from memzoo.zoo.training import record, train
from memzoo.zoo.verification import Verification, verify

__all__ = [
    "Difference",
    "Entry",
    "Fact",
    "History",
    "Publication",
    "Verification",
    "checkpoints_of",
    "compare_with_hub",
    "create",
    "download",
    "draw_training",
    "entry_yaml",
    "extra_repositories",
    "info",
    "is_available",
    "json_schema",
    "list_models",
    "load",
    "publish",
    "read_history",
    "record",
    "register",
    "save",
    "train",
    "verify",
]
