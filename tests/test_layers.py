import ast
from pathlib import Path

import memzoo

LAYERS = [  # a module imports from the rows above its own; a new one needs a place here
    {"errors", "_types", "_version"},
    {"_checks"},
    {"dynamics", "theory", "data"},
    {"models", "metrics"},
    {"callbacks"},
    {"zoo"},
    {"figures", "auditing", "fitting"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
ROOT = Path(memzoo.__file__).parent
FACADE = {"cli", "figures"}  # may use the names that the package itself re-exports


def imported(file: Path) -> set[str]:
    """Top-level memzoo modules that ``file`` imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("memzoo.")}
        elif isinstance(node, ast.ImportFrom) and node.module == "memzoo":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("memzoo."):
            found.add(node.module.split(".")[1])
    return found


def imports_the_package(file: Path) -> bool:
    return any(
        isinstance(node, ast.Import) and any(alias.name == "memzoo" for alias in node.names)
        for node in ast.walk(ast.parse(file.read_text()))
    )


def test_imports_point_down():
    for file in ROOT.rglob("*.py"):
        source = file.relative_to(ROOT).parts[0].removesuffix(".py")
        if source == "__init__":  # the package's own __init__ re-exports from every layer
            continue
        for target in imported(file) - {source}:
            assert RANK[target] < RANK[source], f"{file.relative_to(ROOT)} imports {target}"
        assert source in FACADE or not imports_the_package(file), f"{file.relative_to(ROOT)} goes through the facade"


def test_every_folder_has_a_layer():
    names = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert names - {"__init__"} <= RANK.keys()


def test_init_files_only_re_export():
    for file in ROOT.glob("*/__init__.py"):
        for node in ast.parse(file.read_text()).body:
            assert isinstance(node, (ast.ImportFrom, ast.Assign)) or (
                isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            ), f"{file.relative_to(ROOT)} line {node.lineno} holds more than re-exports"
