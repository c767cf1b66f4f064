# The names that ensembles re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.models.ensembles.ensemble.
from . import ensemble as ensemble
from . import evaluation as evaluation
from . import single_filter as single_filter
from .ensemble import Ensemble

__all__ = ["Ensemble"]
