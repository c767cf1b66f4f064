"""The parts that all architectures share: the base class that trains, and what it is built from.

The parts are configuration, initialisation, activation, loss, optimizer, schedule, and the watch over a run.
"""

from lazy_loader import attach_stub

# The names are in __init__.pyi.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
