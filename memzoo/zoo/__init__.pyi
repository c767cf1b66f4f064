# The names that zoo re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.facts.
from . import card as card
from . import comparison as comparison
from . import downloading as downloading
from . import entry as entry
from . import entry_check as entry_check
from . import facts as facts
from . import files as files
from . import fingerprint as fingerprint
from . import hashes as hashes
from . import history as history
from . import hub as hub
from . import hub_errors as hub_errors
from . import images as images
from . import loading as loading
from . import measurements as measurements
from . import pictures as pictures
from . import point_pictures as point_pictures
from . import publishing as publishing
from . import reference as reference
from . import registry as registry
from . import registry_file as registry_file
from . import reproduction as reproduction
from . import rights as rights
from . import saving as saving
from . import sources as sources
from . import training as training
from . import unfinished as unfinished
from . import verification as verification
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
