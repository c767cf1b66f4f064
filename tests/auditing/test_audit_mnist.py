"""Test the example that audits two networks, in reduced form."""

import importlib.util
from pathlib import Path


def test_the_audited_example_runs_in_reduced_form(tmp_path, capsys):
    path = Path(__file__).parents[2] / "examples/audit_mnist.py"
    spec = importlib.util.spec_from_file_location("audit_mnist", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    leaking, generalising = example.main(steps=400, out=tmp_path)
    assert leaking.members.recovered.sum() > 10
    assert leaking.controls.recovered.sum() == generalising.members.recovered.sum() == 0
    assert (tmp_path / "leaking/report.html").is_file()
    assert "generalising/report.html" in capsys.readouterr().out
