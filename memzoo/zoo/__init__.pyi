# The names that zoo re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.cards.
from . import cards as cards
from . import entry as entry
from . import hub as hub
from . import loading as loading
from . import measures as measures
from . import publishing as publishing
from . import recipes as recipes
from . import registry as registry
from . import rights as rights
from . import verification as verification
from .cards.history import History, read_history
from .cards.pictures import draw_training
from .entry import Entry, Fact
from .loading.building import create
from .loading.downloading import download
from .loading.loader import load
from .loading.locating import is_available
from .publishing.comparison import Difference, compare_with_hub, extra_repositories
from .publishing.publication import Publication, publish
from .recipes.folder import record
from .recipes.saving import save
from .recipes.training import train
from .registry.files import add_hashes
from .registry.registries import checkpoints_of, info, list_models, register
from .registry.registry_file import entry_yaml
from .registry.schema import json_schema
from .verification import Verification, verify

__all__ = [
    "Difference",
    "Entry",
    "Fact",
    "History",
    "Publication",
    "Verification",
    "add_hashes",
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
