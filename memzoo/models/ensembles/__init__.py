"""Ensembles: many small networks of one architecture as one network, trained together."""

from lazy_loader import attach_stub

# The names are in __init__.pyi.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
