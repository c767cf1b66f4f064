"""What a command line of ``memzoo fit`` asks for, read without its parser."""

import pytest

from memzoo.errors import UsageError
from memzoo.fitting.given import read_given, split_options


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], []),
        (["--a", "1", "--b=2"], [("--a", "1"), ("--b", "2")]),
        (["--a", "--b"], [("--a", None), ("--b", None)]),
        (["--a=x=y"], [("--a", "x=y")]),
        (["--a="], [("--a", "")]),
        (["stray", "--a", "1", "more", "--b", "-2"], [("", "stray"), ("--a", "1"), ("", "more"), ("--b", "-2")]),
    ],
)
def test_options_and_their_values(words, options):
    assert list(split_options(words)) == options


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["--seed", "3"], {"seed": 3}),
        (["--seed"], {"seed": True}),
        (["--text", "[open"], {"text": "[open"}),  # no YAML: as it stands
        (["-x", "3"], {}),
        (["--model", "D1"], {"model": {"class_path": "D1"}}),
        (["--model.class_path", "D1"], {"model": {"class_path": "D1"}}),
        (["--model", "D1", "--model.width", "3"], {"model": {"class_path": "D1", "init_args": {"width": 3}}}),
        (["--model.init_args.width", "3"], {"model": {"init_args": {"width": 3}}}),
        (["--model.training.lr", "0.5"], {"model": {"init_args": {"training": {"lr": 0.5}}}}),
        (["--trainer.max_epochs", "3"], {"trainer": {"max_epochs": 3}}),
        (["--trainer.logger.name", "x"], {"trainer": {"logger": None}}),
        (["--trainer.logger", "L", "--trainer.logger.name", "x"], {"trainer": {"logger": "L"}}),
        (["--trainer.callbacks+", "A"], {"trainer": {"callbacks": [{"class_path": "A"}]}}),
        (
            ["--trainer.callbacks+=A", "--trainer.callbacks+=B", "--trainer.callbacks.eps", "2"],
            {"trainer": {"callbacks": [{"class_path": "A"}, {"class_path": "B", "init_args": {"eps": 2}}]}},
        ),
        (["--trainer.callbacks", "A"], {"trainer": {"callbacks": [{"class_path": "A"}]}}),
        (["--trainer.callbacks", "[{class_path: A}]"], {"trainer": {"callbacks": [{"class_path": "A"}]}}),
    ],
)
def test_settings_of_a_command_line(words, given):
    assert read_given(words) == given


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
    assert read_given(["--config", first, "--config", same, "--seed=2"]) == {"model": changed, "seed": 2}
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
