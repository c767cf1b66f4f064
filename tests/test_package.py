"""The package as users get it: a light import, and a wheel that works alone."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import shared_facts

import memzoo
from memzoo.zoo.registry.registries import home

NO_NETWORK = """
import socket
def refuse(*arguments, **keywords):
    raise OSError("this test has no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""

VERIFY_ALL = """
import sys
from pathlib import Path
from shared_facts import install
from memzoo.cli import main
assert main(["verify", "table2-1"]) == 0  # measured by what is installed
install(Path({facts!r}))  # the same files, by their hashes: each fact is measured once in a run of the tests
sys.exit(main(["verify", "--all"]))
"""


def run(code, cwd, **environment):
    environment = {"MEMZOO_DIR": str(Path(cwd).parent / "memzoo"), **environment}
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, *code], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_importing_memzoo_imports_nothing_heavy(tmp_path):
    heavy = {"torch", "lightning", "pydantic", "matplotlib", "jsonargparse", "jinja2"}
    code = f"import sys, memzoo; print(sorted({heavy} & set(sys.modules)))"
    assert run(["-c", code], tmp_path).stdout.strip() == "[]"


def test_heavy_helpers_are_imported_only_where_they_are_used(tmp_path):
    modules = [
        f"memzoo.{name}" for name in ("dynamics", "models", "callbacks", "zoo", "zoo.recipes.training", "figures")
    ]
    code = f"import sys, {', '.join(modules)}; print(sorted({{'timm', 'jsonargparse'}} & set(sys.modules)))"
    result = run(["-W", "ignore", "-c", code], tmp_path)
    assert result.stdout.strip() == "[]", result.stderr


def test_the_registry_is_read_without_torch(tmp_path):
    code = (
        "import sys, memzoo; assert memzoo.info('fig7').id in memzoo.list_models(); "
        "print(sorted({'torch', 'jinja2'} & set(sys.modules)))"
    )
    result = run(["-c", code], tmp_path)
    assert result.stdout.strip() == "[]", result.stderr


def test_dynamics_need_no_lightning(tmp_path):
    code = "import sys, memzoo.dynamics; print('lightning' in sys.modules or 'pydantic' in sys.modules)"
    assert run(["-c", code], tmp_path).stdout.strip() == "False"


def test_unknown_names_and_dir():
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        memzoo.laod  # noqa: B018
    assert {"load", "dynamics", "callbacks"} <= set(dir(memzoo))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    root = home()
    if not (root / "pyproject.toml").is_file():
        pytest.skip("needs the source tree")
    out = tmp_path_factory.mktemp("wheel")
    code = ["-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    result = run(code, root)
    assert result.returncode == 0, result.stderr
    return next(out.glob("*.whl"))


def list_carried_checkpoints(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    return [name for name in memzoo.list_models() if f"memzoo/checkpoints/{name}/model.safetensors" in names]


def test_the_wheel_carries_the_registry_and_the_small_checkpoints(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "memzoo/checkpoints.yaml" in names
    assert "memzoo/data/mnist20.safetensors" in names
    assert "memzoo/py.typed" in names
    small = {"cifar10-d1", "mnist20-fc14x128", "square4-conv29x1"}
    assert small < set(list_carried_checkpoints(wheel)) < set(memzoo.list_models())
    assert wheel.stat().st_size < 25e6
    assert not [name for name in names if name.startswith(("tests", "docs", "examples"))]
    said = [zipfile.ZipFile(wheel).read(name).decode() for name in names if name.endswith("licenses/NOTICE")]
    assert said == [(home() / "NOTICE").read_text()]  # which files in it are not under the MIT licence


def test_verify_all_from_the_wheel_in_an_empty_directory_without_network(wheel, tmp_path, facts_folder):
    installed = tmp_path / "site"
    empty = tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(installed)
    (installed / "sitecustomize.py").write_text(NO_NETWORK)
    where = run(["-c", "import memzoo; print(memzoo.__file__)"], empty, PYTHONPATH=str(installed))
    assert Path(where.stdout.strip()).is_relative_to(installed)
    path = os.pathsep.join([str(installed), str(Path(shared_facts.__file__).parent)])
    code = ["-W", "ignore", "-c", VERIFY_ALL.format(facts=str(facts_folder))]
    result = run(code, empty, PYTHONPATH=path)
    assert result.returncode == 0, result.stdout + result.stderr
    expected = [f"{name}: verified" for name in [memzoo.info("table2-1").id, *list_carried_checkpoints(wheel)]]
    assert [line for line in result.stdout.splitlines() if not line.startswith(" ")] == expected
    left_out = len(memzoo.list_models()) - len(list_carried_checkpoints(wheel))
    assert f"{left_out} checkpoints of the registry are neither in this installation nor on the Hub" in result.stderr
    listed = run(["-W", "ignore", "-m", "memzoo.cli", "list", "--json"], empty, PYTHONPATH=str(installed))
    assert [entry["id"] for entry in json.loads(listed.stdout)] == memzoo.list_models()
    assert not list(empty.iterdir())
