"""The constructors that users call: their arguments reach the options, and the command line lists each of them."""

import inspect
from dataclasses import FrozenInstanceError, fields

import pytest
from jsonargparse import ArgumentParser

from memzoo.callbacks import AttractorCallback, ContractionCallback, TrajectoryLogger
from memzoo.callbacks.options import MeasuringOptions, StartingOptions

KINDS = pytest.mark.parametrize("kind", [AttractorCallback, ContractionCallback, TrajectoryLogger])
OWN_DEFAULTS = {"name", "max_starts"}
"""Arguments whose default is another one in some callback."""


@KINDS
def test_defaults_of_constructors_are_those_of_the_options(kind):
    defaults = {field.name: field.default for field in fields(StartingOptions)}
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in defaults and name not in OWN_DEFAULTS:
            assert parameter.default == defaults[name], name


@KINDS
def test_arguments_reach_the_callback(kind):
    takes = inspect.signature(kind).parameters
    given = {"max_examples": 3, "rotate": 2, "max_starts": 5, "seed": 7, "verbose": False, "name": "mine"}
    callback = kind(every_n_steps=4, budget=0.5, **{name: value for name, value in given.items() if name in takes})
    for name, value in given.items():
        if name in takes:
            assert getattr(callback, name) == value, name
    assert callback.cadence.every_n_steps == 4
    assert callback.cadence.every_n_epochs is None
    assert callback.cadence.budget == 0.5


@KINDS
def test_the_command_line_lists_every_argument_with_its_type_and_its_documentation(kind):
    parser = ArgumentParser()
    parser.add_class_arguments(kind, "callback")
    _, _, described = " ".join(parser.format_help().split()).partition(" options: ")
    entries = described.split(" --callback.")
    _, _, arguments = " ".join(inspect.getdoc(kind).split()).partition(" Args: ")
    for name, parameter in inspect.signature(kind).parameters.items():
        assert parameter.annotation is not inspect.Parameter.empty
        entry = " ".join(
            entry for entry in entries if entry.startswith((f"{name} ", f"{name}+ "))
        )  # + appends to a list
        assert "(type: " in entry, name
        _, found, documentation = f" {arguments}".partition(f" {name}: ")
        assert found, name
        first_words = " ".join(documentation.split()[:2])
        assert first_words in entry, name


def test_options_cannot_be_changed():
    options = MeasuringOptions(name="mine")
    with pytest.raises(FrozenInstanceError):
        options.rotate = 2
