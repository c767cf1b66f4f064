"""The architectures as a configuration file sees them: every field by name and type.

``memzoo.fitting.models.D1`` stands in a saved configuration where ``D1`` was written.
"""

import inspect
from abc import ABC
from typing import Any, get_args

from lightning.pytorch import LightningModule
from pydantic import BaseModel, ValidationError

from memzoo.models import ARCHITECTURES, Autoencoder, Initialisation, Training

NAMES = tuple(ARCHITECTURES)


class Model(ABC):  # noqa: B024
    """What ``model:`` takes: an architecture by its name, or anyone's LightningModule by its path."""


Model.register(LightningModule)


def fields_of(annotation: Any) -> list[str]:
    """Fields of the configuration that an annotation names, alone or in a union."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return [name for kind in kinds if issubclass(kind, BaseModel) for name in kind.model_fields]


def build(kind: type, **fields: Any) -> Any:
    """The network itself.

    Raises:
        ValidationError: A field has no such value.
    """
    return kind(**fields) if kind.__name__ not in ARCHITECTURES else ARCHITECTURES[kind.__name__](**fields)


def _seen(name: str, architecture: type[Autoencoder]) -> type[Model]:
    """A class whose constructor has the fields of the configuration, and ``training``, as its arguments."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    arguments = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for field, about in architecture.config_class.model_fields.items():
        annotation = Initialisation | str if about.annotation is Initialisation else about.annotation
        default = inspect.Parameter.empty if about.is_required() else about.get_default(call_default_factory=True)
        arguments.append(inspect.Parameter(field, keyword, annotation=annotation, default=default))
    arguments.append(inspect.Parameter("training", keyword, annotation=Training, default=Training()))

    def __init__(self: Any, **fields: Any) -> None:  # noqa: N807
        """The parser reads its signature; nobody calls it."""

    about = (architecture.__doc__ or "").partition("Example:")[0]
    __init__.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    return type(name, (Model,), {"__init__": __init__, "__module__": __name__, "__doc__": about})


globals().update({name: _seen(name, architecture) for name, architecture in ARCHITECTURES.items()})

__all__ = ["NAMES", "Model", "ValidationError", "build", "fields_of"]
