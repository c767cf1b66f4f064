"""Memorization in overparameterized autoencoders: measure it in training, load it from a zoo, reproduce the paper."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memzoo._version import __version__

if TYPE_CHECKING:
    from memzoo.auditing import audit
    from memzoo.callbacks import Watch
    from memzoo.modules import code_map, denoiser
    from memzoo.zoo import create, download, info, list_models, load, publish, register, save, verify

__all__ = [
    "Watch",
    "__version__",
    "audit",
    "code_map",
    "create",
    "denoiser",
    "download",
    "info",
    "list_models",
    "load",
    "publish",
    "register",
    "save",
    "verify",
]

_ELSEWHERE = {"Watch": "callbacks", "audit": "auditing", "code_map": "modules", "denoiser": "modules"}
"""Folders of the names that are none of the zoo."""
_MODULES = {"auditing", "callbacks", "data", "dynamics", "errors", "figures", "metrics", "models", "theory", "zoo"}


def __getattr__(name: str) -> Any:
    """Import a name on its first use, so that ``import memzoo`` costs next to nothing."""
    if name in __all__:
        return getattr(import_module(f"memzoo.{_ELSEWHERE.get(name, 'zoo')}"), name)
    if name in _MODULES:
        return import_module(f"memzoo.{name}")
    raise AttributeError(f"module 'memzoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
