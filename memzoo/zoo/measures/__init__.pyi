# The names that measures re-exports; lazy_loader imports each on first use.

# Its modules, which are reached as attributes as well: memzoo.zoo.measures.facts.
from . import facts as facts
from . import measurements as measurements
from .facts import MEASURES, OF_A_PART, OF_THE_WHOLE
from .measurements import Kind, Measurements

__all__ = ["MEASURES", "OF_A_PART", "OF_THE_WHOLE", "Kind", "Measurements"]
