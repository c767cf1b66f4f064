"""What a command line of ``memzoo fit`` asks for, read without its parser."""

import os

import pytest

from memzoo.errors import UsageError
from memzoo.fitting.given import read_given, split_options


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("", []),
        ("--a 1 --b=2", [("--a", "1"), ("--b", "2")]),
        ("--a --b", [("--a", None), ("--b", None)]),
        ("--a=x=y", [("--a", "x=y")]),
        ("--a=", [("--a", "")]),
        # words that belong to no option, and a value that begins with a dash
        ("stray --a 1 more --b -2", [("", "stray"), ("--a", "1"), ("", "more"), ("--b", "-2")]),
    ],
)
def test_options_and_their_values(line, options):
    assert list(split_options(line.split())) == options


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("--seed 3", {"seed": 3}),
        ("--seed", {"seed": True}),
        ("--text [open", {"text": "[open"}),  # no YAML: as it stands
        ("-x 3", {}),
    ],
)
def test_settings_of_a_command_line(line, given):
    assert read_given(line.split()) == given


@pytest.mark.parametrize(
    ("line", "model"),
    [
        ("--model D1", {"class_path": "D1"}),
        ("--model.class_path D1", {"class_path": "D1"}),
        ("--model D1 --model.width 3", {"class_path": "D1", "init_args": {"width": 3}}),
        ("--model.init_args.width 3", {"init_args": {"width": 3}}),
        ("--model.training.lr 0.5", {"init_args": {"training": {"lr": 0.5}}}),
    ],
)
def test_settings_of_a_class_are_its_path_and_its_arguments(line, model):
    assert read_given(line.split()) == {"model": model}


@pytest.mark.parametrize(
    ("line", "trainer"),
    [
        ("--trainer.max_epochs 3", {"max_epochs": 3}),
        ("--trainer.logger.name x", {"logger": None}),
        ("--trainer.logger L --trainer.logger.name x", {"logger": "L"}),
    ],
)
def test_settings_of_the_trainer_are_its_arguments(line, trainer):
    assert read_given(line.split()) == {"trainer": trainer}


@pytest.mark.parametrize(
    "words",
    [["--trainer.callbacks+", "A"], ["--trainer.callbacks", "A"], ["--trainer.callbacks", "[{class_path: A}]"]],
)
def test_callbacks_are_a_list_however_they_are_given(words):
    assert read_given(words) == {"trainer": {"callbacks": [{"class_path": "A"}]}}


def test_an_argument_goes_to_the_last_callback_before_it():
    line = "--trainer.callbacks+=A --trainer.callbacks+=B --trainer.callbacks.eps 2"
    expected = [{"class_path": "A"}, {"class_path": "B", "init_args": {"eps": 2}}]
    assert read_given(line.split()) == {"trainer": {"callbacks": expected}}


def test_configuration_files_one_over_the_other(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    first = write("a.yaml", "model: {class_path: D1, init_args: {width: 3, depth: 2}}\nseed: 1\n")
    same = write("b.yaml", "model: {init_args: {width: 4}}\n")
    other = write("c.yaml", "model: {class_path: D2}\ndata: data.yaml\n")
    write("data.yaml", "class_path: MNIST20\n")
    empty = write("d.yaml", "")
    several = write("e.yaml", "trainer: {callbacks: A, max_epochs: 3}\n")
    d1 = {"class_path": "D1", "init_args": {"width": 3, "depth": 2}}
    assert read_given(["--config", first, "-c", empty]) == {"model": d1, "seed": 1}
    changed = {"class_path": "D1", "init_args": {"width": 4, "depth": 2}}
    words = ["--config", first, "--config", same, "--seed=2"]
    assert read_given(words) == {"model": changed, "seed": 2}
    replaced = {"model": {"class_path": "D2"}, "data": {"class_path": "MNIST20"}, "seed": 1}
    assert read_given(["--config", first, "--config", other]) == replaced
    expected = {"trainer": {"callbacks": [{"class_path": "A"}], "max_epochs": 3}}
    assert read_given(["--config", several]) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "must map settings to values, got list"),
        ("a: [", "is no readable YAML"),
        (None, "no configuration file"),
    ],
)
def test_configuration_files_that_are_none(tmp_path, text, message):
    if text is not None:
        (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_given(["--config", str(tmp_path / "a.yaml")])


@pytest.mark.parametrize("line", ["--config {}", "--model {}", "--data={}", "--trainer {}", "--trainer.callbacks+={}"])
def test_a_pipe_is_refused_without_waiting(line, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"no configuration file at|is no regular file|map arguments to values"):
        read_given(line.format(tmp_path / "pipe").split())


def test_the_option_for_a_file_is_no_setting_in_it(tmp_path):
    (tmp_path / "x.yaml").write_text("config: {a: 1}")
    with pytest.raises(UsageError, match="has no 'config'"):
        read_given(["--config", str(tmp_path / "x.yaml")])
