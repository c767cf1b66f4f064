# The names that publishing re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.publishing.comparison.
from . import comparison as comparison
from . import content as content
from . import publication as publication

__all__ = []
