"""What is wrong with a configuration, in one line."""

import difflib
import inspect
import re
from collections.abc import Iterable
from importlib import import_module

import lightning.pytorch.callbacks
from pydantic import ValidationError

from memzoo.callbacks import AttractorCallback, ContractionCallback, KeepGenerators
from memzoo.data import CIFAR10, MNIST, MNIST20, Drawn, Images
from memzoo.fitting import models
from memzoo.fitting.models import Model
from memzoo.fitting.zoo_images import ZooImages

MANY = 16  # names that are not all listed where one is near
OWN = {
    "model": models.NAMES,
    "data": tuple(kind.__name__ for kind in (MNIST20, MNIST, CIFAR10, Drawn, Images, ZooImages)),
    "trainer.callbacks": tuple(kind.__name__ for kind in (AttractorCallback, ContractionCallback, KeepGenerators)),
}

NOISE = re.compile(
    r"Does not validate against|Subtypes:|Errors:|- Expected a <class 'NoneType'>|Given value|Not a valid subclass|"
    r"Subclass types expect|- a class path|- a dict |Problem with given class_path|Parser key|either not accessible"
)
REFUSED = re.compile(r"Option '([^']+)' is not accepted")
REFUSED_IN_GROUP = re.compile(r"Group '([^']+)' does not accept option '([^']+)'")
REFUSED_ARGUMENT = re.compile(r"unrecognized arguments: (?:--(\S+?)(?==|\s|$)|(.+))", re.IGNORECASE)
CLASS = re.compile(r"Problem with given class_path '([^']+)'")
KEY = re.compile(r'Parser key "([^"]+)"')


class UsageError(Exception):
    """The configuration or the command line asks for what is not there."""


def explain(error: Exception, settings: Iterable[str]) -> str:
    """The parser's error as one line that names what could have been meant.

    Args:
        error: As it was raised.
        settings: All that the command takes, dotted.
    """
    text = str(error)
    key = found.group(1) if (found := KEY.search(text)) else ""
    classes = CLASS.findall(text)
    if found := re.search(r"File does not exist: '([^']+)'", text):
        return f"no configuration file at {found.group(1)}."
    path = classes[-1].rpartition(".") if classes else None
    if "Problems parsing config" in text:
        return f"the configuration is no readable YAML: {_one_line(text.split(':', 1)[-1])}"
    if found := re.search(r"Expected a dot import path string: (\S+)", text):
        return _unknown_class(key, found.group(1))
    if found := re.search(r"arguments are required: (.+)", text):
        needed = found.group(1).replace(", ", " and ")
        if path is not None:
            return f"{path[2]} needs {needed}, under init_args."
        return f"the configuration needs {needed}; see --print_config, and examples/configs/ in memzoo's repository."
    if found := REFUSED_IN_GROUP.search(text):
        group, option = found.groups()
        if path is not None:
            return _unknown_key(
                f"{path[2]}: {group}", option, [n[len(group) + 1 :] for n in _arguments(classes[-1], group)]
            )
        inside = [name[len(group) + 1 :] for name in settings if name.startswith(f"{group}.")]
        return _unknown_key(group, option, inside)
    if path is not None and (found := REFUSED.search(text) or REFUSED_ARGUMENT.search(text)):
        option = found.group(1) or found.group(2)
        group, _, last = option.rpartition(".")
        if path[2] == Model.__name__:
            return f"{key} needs a class_path, one of {', '.join(models.NAMES)}, and its fields under init_args."
        prefix = f"{group}." if group else ""
        names = [name.removeprefix(prefix) for name in _arguments(classes[-1], group)]
        return _unknown_key(f"{path[2]}: {group}" if group else path[2], last, names)
    if found := REFUSED.search(text) or REFUSED_ARGUMENT.search(text):
        option = found.group(1) or found.group(2)
        group, _, last = option.rpartition(".")
        if inside := [name[len(group) + 1 :] for name in settings if group and name.startswith(f"{group}.")]:
            return _unknown_key(group, last, inside)
        return _unknown_key("the configuration", option.split(".")[0], sorted({n.split(".")[0] for n in settings}))
    lines = [line.strip(" -") for line in text.splitlines() if line.strip() and not NOISE.search(line)]
    where = ": ".join(part for part in (key, path[2] if path else "") if part)
    return f"{where}: {_one_line(' '.join(lines))}" if where else _one_line(" ".join(lines) or text)


def explain_fields(name: str, error: ValidationError) -> str:
    """What a configuration's own checks say."""
    said = []
    for problem in error.errors():
        place = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        said.append(f"{place}: {message}, got {problem['input']!r}" if place else message)
    return f"{name}: {'; '.join(said)}."


def _unknown_key(where: str, wrong: str, names: list[str]) -> str:
    near = difflib.get_close_matches(wrong, names, 1)
    if near and len(names) > MANY:
        return f"{where} has no {wrong!r}. Did you mean {near[0]}? All of them: memzoo fit --help."
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"{where} has no {wrong!r}.{meant} It takes {', '.join(names)}."


def _unknown_class(key: str, wrong: str) -> str:
    own = OWN.get(key.split("[")[0], ())
    near = difflib.get_close_matches(wrong, [*own, *lightning.pytorch.callbacks.__all__], 1)
    meant = f" Did you mean {near[0]}?" if near else ""
    also = ", those of lightning.pytorch.callbacks," if key.startswith("trainer.callbacks") else ""
    return f"{key}: no class {wrong!r}.{meant} There are {', '.join(own)}{also} and one's own as package.module.Class."


def _arguments(path: str, group: str = "") -> list[str]:
    """Names of the arguments of a class, of those of one field dotted."""
    module, _, name = path.rpartition(".")
    kind = getattr(import_module(module), name)
    parameters = inspect.signature(kind.__init__).parameters
    names = [n for n, p in parameters.items() if n != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    if not group:
        return names
    inside = models.fields_of(parameters[group].annotation) if group in parameters else []
    return [f"{group}.{n}" for n in inside]


def _one_line(text: str) -> str:
    return " ".join(text.split())
