"""Entries of the zoo: what a registry says of a checkpoint, and the files that it describes."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)  # the names are in __init__.pyi
