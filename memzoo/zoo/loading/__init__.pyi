# The names that loading re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.loading.downloading.
from . import building as building
from . import downloading as downloading
from . import fingerprint as fingerprint
from . import images as images
from . import limits as limits
from . import loader as loader
from . import locating as locating
from .building import create
from .fingerprint import take_fingerprint
from .images import EntryImages, fetch_training_set, find_images, select_reached
from .limits import limit_parameters
from .loader import assemble, load
from .locating import LocatedCheckpoint, locate, read_entry

__all__ = [
    "EntryImages",
    "LocatedCheckpoint",
    "assemble",
    "create",
    "fetch_training_set",
    "find_images",
    "limit_parameters",
    "load",
    "locate",
    "read_entry",
    "select_reached",
    "take_fingerprint",
]
