"""The Hugging Face Hub: its client, its errors in words, and the places where a file may lie."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)  # the names are in __init__.pyi
