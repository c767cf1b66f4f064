"""Give each architecture a class whose constructor lists every field by name and type, for configuration files.

An architecture takes its configuration as one object; a parser must see each field as an argument. So each architecture
has a class here, of the same name, whose constructor lists the fields and returns the network itself.
``memzoo.fitting.models.D1`` stands in a saved configuration where ``D1`` was written.
"""

import inspect
from abc import ABC
from typing import Any

from lightning.pytorch import LightningModule
from pydantic import ValidationError

from memzoo.errors import UsageError
from memzoo.models import ARCHITECTURES, Autoencoder, Initialisation, Training


class Model(ABC):  # noqa: B024
    """Base of what ``model:`` takes: an architecture by its name, or anyone's LightningModule by its path."""


Model.register(LightningModule)


def explain_fields(name: str, error: ValidationError) -> str:
    """Return what a configuration's own checks found, in one line."""
    found = []
    for problem in error.errors():
        place = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        found.append(f"{place}: {message}, got {problem['input']!r}" if place else message)
    return f"{name}: {'; '.join(found)}."


def _configurable(name: str, architecture: type[Autoencoder]) -> type[Model]:
    """Make the class whose constructor has the fields of the configuration, and ``training``, as its arguments."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    arguments = [inspect.Parameter("_cls", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for field, about in architecture.config_class.model_fields.items():
        annotation = Initialisation | str if about.annotation is Initialisation else about.annotation
        default = inspect.Parameter.empty if about.is_required() else about.get_default(call_default_factory=True)
        arguments.append(inspect.Parameter(field, keyword, annotation=annotation, default=default))
    arguments.append(inspect.Parameter("training", keyword, annotation=Training, default=Training()))

    def __new__(_cls: type, **fields: Any) -> Autoencoder:  # noqa: N807
        """Return the network; the parser reads the signature that is put on this function below."""
        try:
            return architecture(**fields)
        except ValidationError as error:
            raise UsageError(explain_fields(name, error)) from error

    __new__.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    description = (architecture.__doc__ or "").partition("Example:")[0]
    return type(name, (Model,), {"__new__": __new__, "__module__": __name__, "__doc__": description})


CONFIGURABLE = {name: _configurable(name, architecture) for name, architecture in ARCHITECTURES.items()}


def __getattr__(name: str) -> type[Model]:
    """Return a class by its name: a saved configuration holds ``memzoo.fitting.models.D1``."""
    if name in CONFIGURABLE:
        return CONFIGURABLE[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
