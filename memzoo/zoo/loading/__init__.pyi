# The names that loading re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.loading.downloading.
from . import downloading as downloading
from . import fingerprint as fingerprint
from . import images as images
from . import loader as loader
from .fingerprint import take_fingerprint
from .images import images_of, reached, whole_set
from .loader import Located, assemble, create, entry_in, load, locate

__all__ = [
    "Located",
    "assemble",
    "create",
    "entry_in",
    "images_of",
    "load",
    "locate",
    "reached",
    "take_fingerprint",
    "whole_set",
]
