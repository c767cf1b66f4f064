"""The model card of a checkpoint: its text, its pictures, the course of its training."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)  # the names are in __init__.pyi
