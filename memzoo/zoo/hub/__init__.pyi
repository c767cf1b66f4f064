# The names that hub re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.hub.client.
from . import client as client
from . import errors as errors
from . import line as line
from . import secrets as secrets
from . import sources as sources
from .sources import Folder, Repository, Source, find_file, list_sources, make_missing_error

__all__ = ["Folder", "Repository", "Source", "find_file", "list_sources", "make_missing_error"]
