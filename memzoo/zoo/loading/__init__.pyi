# The names that loading re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.loading.downloading.
from . import downloading as downloading
from . import fingerprint as fingerprint
from . import images as images
from . import loader as loader
from .fingerprint import take_fingerprint
from .images import EntryImages, fetch_training_set, find_images, select_reached
from .loader import LocatedCheckpoint, assemble, create, load, locate, read_entry

__all__ = [
    "EntryImages",
    "LocatedCheckpoint",
    "assemble",
    "create",
    "fetch_training_set",
    "find_images",
    "load",
    "locate",
    "read_entry",
    "select_reached",
    "take_fingerprint",
]
