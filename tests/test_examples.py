import importlib.util
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_demo_runs_in_reduced_form(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    last = demo.main(steps=1200, out=tmp_path / "demo")
    assert last["attractor/fraction"] > 0.5
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["history.png", "trajectories.png"]
    assert "training images are certified attractors" in capsys.readouterr().out
