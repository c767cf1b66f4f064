"""What all architectures share: the base class that trains, its configuration, initialisation, optimizer, schedule."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)  # the names are in __init__.pyi
