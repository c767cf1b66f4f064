"""Every place that could run what it reads is listed with a reason in docs/security.md, and has its safe option."""

import ast
import re
from pathlib import Path

import pytest

import memzoo

PACKAGE = Path(memzoo.__file__).parent
PAGE = PACKAGE.parent / "docs/security.md"
LOADS = {"load", "loads", "full_load", "load_all", "unsafe_load", "unsafe_load_all", "read_array", "Unpickler"}
"""Functions that read objects, of pickle, torch, yaml, numpy and others; those of json alone read plain values."""
RUNS = {
    *("import_module", "load_from_checkpoint", "from_pretrained", "create_model", "instantiate", "parse_path"),
    *("get_single_data", "get_data", "construct_document"),  # of a loader of YAML
    *("CDLL", "Popen", "system", "popen", "run_path", "run_module", "check_call", "check_output"),
}
FORBIDDEN = {"eval", "exec", "compile", "__import__"}
SAFE = {
    "torch.load": "weights_only=True",
    "load_from_checkpoint": "weights_only=True",
    "trainer.fit": "weights_only=True",
    "np.load": "allow_pickle=False",
    "read_array": "allow_pickle=False",
    "yaml.load": "Loader=_StrictLoader",
}
"""What must stand in a call."""
OURS = {"json.load", "json.loads", "load"}
"""``load`` alone is memzoo's own."""


def find_calls(text):
    """Find the calls in a source that could run what they read: the name of the function, and the whole call."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            last = node.func.attr if isinstance(node.func, ast.Attribute) else name
            is_fit = name.endswith("trainer.fit") and any(keyword.arg == "ckpt_path" for keyword in node.keywords)
            if name in FORBIDDEN or last in RUNS or (last in LOADS and name not in OURS) or is_fit:
                yield name, ast.unparse(node)


def find_unsafe(text):
    """Find the calls in a source that are never allowed, or lack their safe option."""
    for name, call in find_calls(text):
        needed = next((option for end, option in SAFE.items() if name.endswith(end)), "")
        if name in FORBIDDEN or needed not in call:
            yield call


SOURCES = {str(path.relative_to(PACKAGE.parent)): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def test_each_file_that_could_run_code_is_listed_with_a_reason():
    found = {name for name, text in SOURCES.items() if [*find_calls(text)]}
    listed = re.findall(r"^\| `(memzoo/[^`]+)` \| .+ \| .{10,} \|$", PAGE.read_text("utf-8"), re.M)
    assert found - {*listed} == set(), "docs/security.md lacks them"
    assert {*listed} - found == set(), "docs/security.md lists what is gone"
    assert sorted(listed) == sorted(set(listed))


def test_no_call_lacks_its_safe_option():
    assert {name: calls for name, text in SOURCES.items() if (calls := [*find_unsafe(text)])} == {}


def test_no_other_program_is_started_and_pickles_are_read_from_own_processes_alone():
    modules = {}
    for name, text in SOURCES.items():
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in names:
                modules.setdefault(module.partition(".")[0], set()).add(name)
    never = {"subprocess", "marshal", "shelve", "runpy", "dill", "cloudpickle", "joblib", "code", "pty"}
    assert not never & modules.keys()
    assert modules["pickle"] == {"memzoo/runs/launched.py", "memzoo/auditing/checkpoint.py"}  # the second: an error
    loader = next(text for text in SOURCES.values() if "class _StrictLoader" in text)
    assert 'SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)' in loader
    assert "class _StrictLoader(SafeLoader):" in loader


@pytest.mark.parametrize(
    "call",
    [
        "eval(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "kind.load_from_checkpoint(path)",
        "self.trainer.fit(model, ckpt_path=path)",
    ],
)
def test_what_is_not_safe_is_found(call):
    assert [*find_unsafe(f"import torch\n{call}")] == [call]


@pytest.mark.parametrize("call", ["json.loads(text)", "re.compile(text)", "model.eval()", "load(name)"])
def test_what_runs_nothing_is_left_alone(call):
    assert [*find_calls(call)] == []


@pytest.mark.parametrize("call", ["pickle.loads(x)", "import_module(name)", "point.load()", "yaml.unsafe_load(text)"])
def test_what_could_run_code_is_found(call):
    assert [found for _, found in find_calls(call)] == [call]
