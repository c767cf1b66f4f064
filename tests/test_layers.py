"""Imports point down: between folders, between the files of a folder, and deferred ones too."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import memzoo

ROOT = Path(memzoo.__file__).parent
FLOORS = [  # a folder or file imports from the floors below its own; a new one needs a place here
    {"_attempt", "_twins", "_types", "_user_warning", "_version", "errors"},
    {"_generators", "_known_layers", "_reading"},
    {"_module_state"},
    {"_checks", "_templates", "plotting"},
    {"dynamics", "theory", "data"},
    {"models", "metrics", "modules", "runs"},
    {"callbacks"},
    {"zoo"},
    {"figures", "auditing", "fitting"},
    {"cli"},
    {"__main__"},
]
INSIDE = {  # the same for the sub-folders of a folder
    "dynamics": [
        {"intervals", "reconstruction"},
        {"tracing"},
        {"spectra", "orbits"},
        {"attractors"},
        {"latent", "memory"},
    ],
    "models": [{"base"}, {"architectures"}, {"ensembles"}, {"table"}],
    "zoo": [
        {"measures", "rights"},
        {"entry"},
        {"registry"},
        {"hub"},
        {"loading"},
        {"cards", "verification"},
        {"publishing", "recipes"},
    ],
    "figures": [{"engine"}, {"paper", "beyond"}, {"catalogue"}, {"report"}],
}
WHOLE_PACKAGE = {"cli", "figures"}  # may use the names that memzoo itself re-exports


def name_of(path: Path) -> str:
    parts = ("memzoo", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in ROOT.rglob("*.py")}
PACKAGES = {name for name, path in FILES.items() if path.stem == "__init__"}


def parent(module: str) -> str:
    return module.rpartition(".")[0]


def imported_by(path: Path) -> set[str]:
    """Return the modules of memzoo that a file imports from, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                beside = f"{node.module}.{alias.name}"  # a file of its own folder, taken as a whole
                group = beside if node.module == parent(name_of(path)) and beside in FILES else str(node.module)
                found.add(group)
    return {name for name in found if name.split(".")[0] == "memzoo"}


IMPORTS = {name: imported_by(path) for name, path in FILES.items() if name != "memzoo"}
EDGES = [(source, target) for source, targets in IMPORTS.items() for target in sorted(targets)]


def floor(parts: list[str]) -> int:
    """Return the number of the floor on which the last of ``parts`` stands among its siblings."""
    *above, name = parts
    floors = FLOORS if len(above) == 1 else INSIDE.get(above[1], [])
    for number, names in enumerate(floors):
        if name in names:
            return number
    pytest.fail(f"memzoo/{'/'.join(parts[1:])} stands on no floor: give it a place in tests/test_layers.py")


def fork(source: str, target: str) -> tuple[list[str], list[str]] | None:
    """Return the two siblings above ``source`` and ``target`` in the tree; None where one lies in the other."""
    a = source.split(".")
    b = target.split(".")
    for depth, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return a[: depth + 1], b[: depth + 1]
    return None


def find_upward(source: str, target: str) -> str | None:
    """Say what is wrong with an import that does not point down."""
    if target == "memzoo":
        known = source.split(".")[1] in WHOLE_PACKAGE
        return None if known else f"{source} imports the whole package: name the folder it needs"
    if source in PACKAGES and target.startswith(f"{source}."):
        return None  # a face shows what is behind it
    siblings = fork(source, target)
    if siblings is None:
        return f"{source} imports the folder that it lies in: import the file"
    of_the_house = len(siblings[0]) == 2
    of_a_room = siblings[0][1] in INSIDE and len(siblings[0]) == 3
    if (of_the_house or of_a_room) and floor(siblings[1]) >= floor(siblings[0]):
        return f"{source} imports {target}, which does not stand on a floor below it"
    return None


def find_bypass(source: str, target: str) -> str | None:
    """Say what is wrong with an import that goes past the face of another folder."""
    folder = parent(target)
    if target in PACKAGES or folder == "memzoo":
        return None
    inside = parent(source) == folder or (source in PACKAGES and target.startswith(f"{source}."))
    beside_folders = source.startswith(f"{folder}.")  # a file among the folders of a room, such as verification.py
    if inside or beside_folders:
        return None
    return f"{source} imports {target} past its face: import the name from {folder}"


def test_every_import_points_down():
    assert [fault for edge in EDGES if (fault := find_upward(*edge))] == []


def test_other_folders_are_used_through_their_face():
    assert [fault for edge in EDGES if (fault := find_bypass(*edge))] == []


@pytest.mark.parametrize(
    ("source", "target", "fault"),
    [
        ("memzoo.dynamics.spectra.radius", "memzoo.models", "does not stand on a floor below"),
        ("memzoo.theory.phi", "memzoo.dynamics", "does not stand on a floor below"),
        ("memzoo.dynamics.tracing.precision", "memzoo.dynamics.spectra", "does not stand on a floor below"),
        ("memzoo.dynamics.spectra.radius", "memzoo.dynamics.spectra", "the folder that it lies in"),
        ("memzoo.models.table", "memzoo", "the whole package"),
    ],
)
def test_an_import_that_points_up_is_found(source, target, fault):
    assert fault in find_upward(source, target)


def test_an_import_past_a_face_is_found():
    assert "past its face" in find_bypass("memzoo.zoo.loading.images", "memzoo.data.mnist")


def test_no_files_import_each_other_in_a_circle():
    files = {name: targets - PACKAGES for name, targets in IMPORTS.items() if name not in PACKAGES}
    try:
        TopologicalSorter(files).prepare()
    except CycleError as error:
        pytest.fail(f"these files import each other in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("package", sorted(PACKAGES - {"memzoo"}))
def test_faces_only_re_export(package):
    for node in ast.parse(FILES[package].read_text()).body:
        assert isinstance(node, (ast.ImportFrom, ast.Assign)) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ), f"{package}, line {node.lineno}, holds more than re-exports"
