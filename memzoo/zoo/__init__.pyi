# The names that zoo re-exports; lazy_loader imports each on first use.

from .comparison import Difference, compare_with_hub, extra_repositories
from .downloading import download
from .entry import Entry, Fact
from .history import History, read_history
from .loading import create, is_available, load
from .pictures import draw_training
from .publishing import Publication, publish
from .registry import checkpoints_of, info, list_models, register
from .registry_file import entry_yaml, json_schema
from .saving import save
from .training import record, train
from .verification import Verification, verify

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
