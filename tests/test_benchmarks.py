"""The comparison of benchmark ratios with the stored ones."""

import importlib.util
import json

import pytest

from memzoo.zoo.registry.registries import home

STORED = home() / "benchmarks/stored.json"


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Load the script, and give it a folder of its own."""
    path = home() / "benchmarks/compare.py"
    if not path.is_file():
        pytest.skip("needs the source tree")
    spec = importlib.util.spec_from_file_location("benchmarks_compare", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "STORED", tmp_path / "stored.json")
    monkeypatch.setattr(module.read_ratios, "__defaults__", (tmp_path,))
    return module


def write_ratios(folder, spectrum, training):
    """Write what a run leaves: in one file plain over ours, in the other ours over plain."""
    rows = [{"case": "spectrum", "plain": "eigvals", "ratio": spectrum}]
    (folder / "ratios.json").write_text(json.dumps({"rows": rows}))
    text = json.dumps({"rows": [{"case": "step", "ratio": training}]})
    (folder / "training.json").write_text(text)


def find_slower_line(capsys):
    return next(line for line in capsys.readouterr().out.splitlines() if "SLOWER" in line)


def test_a_run_is_compared_with_the_stored_one(compare, tmp_path, capsys):
    write_ratios(tmp_path, 30.0, 1.1)
    assert compare.main(1.5, store=True) == 0
    write_ratios(tmp_path, 21.0, 1.0)
    assert compare.main(1.5, store=False) == 0
    assert "0 of 2 cases are slower" in capsys.readouterr().out
    write_ratios(tmp_path, 19.0, 1.1)
    assert compare.main(1.5, store=False) == 1
    assert "spectrum / eigvals" in find_slower_line(capsys)
    write_ratios(tmp_path, 30.0, 1.8)
    assert compare.main(1.5, store=False) == 1
    assert "step" in find_slower_line(capsys)


def test_cases_of_one_side_alone_are_named(compare, tmp_path, capsys):
    (tmp_path / "stored.json").write_text(json.dumps({"gone": 2.0}))
    write_ratios(tmp_path, 30.0, 1.1)
    assert compare.main(1.5, store=False) == 0
    output = capsys.readouterr().out
    assert "2.00x, not in this run" in output
    assert output.count("new") == 2


def test_nothing_to_compare_is_an_error(compare, tmp_path):
    message = r"no ratios\.json or training\.json in .*; run ratios\.py and training\.py"
    with pytest.raises(FileNotFoundError, match=message):
        compare.main(1.5, store=False)


def test_the_stored_ratios_are_positive_numbers():
    stored = json.loads(STORED.read_text())
    assert all(isinstance(speed, float) and speed > 0 for speed in stored.values())
    measured = {"spectrum", "recovery", "optimizer step"}  # of ratios.py and of training.py
    assert all(any(word in case for case in stored) for word in measured)
