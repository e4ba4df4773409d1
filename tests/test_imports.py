"""The floors of the house: a module imports only from floors below its own, or from its own package."""

import ast
from pathlib import Path

import pytest

import flowguide

PACKAGE = Path(flowguide.__file__).parent

FLOORS = {
    "devices": -1,
    "registry": 0,
    "options": 0,
    "randomness": 0,
    "distances": 0,
    "cache": 0,
    "digest": 0,
    "probing": 1,
    "paths": 1,
    "couplings": 1,
    "networks": 1,
    "observations": 1,
    "fields": 2,
    "guidance": 3,
    "objectives": 3,
    "solvers": 3,
    "likelihood": 3,
    "diagnostics": 3,
    "metrics": 3,
    "data": 3,
    "conditioners": 4,
    "training": 5,
    "pretrained": 5,
    "encoding": 6,
    "evaluation": 6,
    "drawing": 0,
    "cli": 7,
    "__main__": 8,
}


def room(module: tuple[str, ...]) -> str:
    """The package or top-level module that a module lives in."""
    return module[0]


def imports_of(file: Path) -> set[tuple[str, ...]]:
    """The modules of flowguide that a file imports, anywhere in it, as paths below the package."""
    here = file.relative_to(PACKAGE).with_suffix("").parts
    package = here[:-1]  # of __init__ too: its own folder
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            target = (*base, *(node.module or "").split(".")) if node.module else base
            found |= {target} if target else {(alias.name,) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "flowguide":
            below = tuple(node.module.split(".")[1:])
            found |= {below} if below else {(alias.name,) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {tuple(a.name.split(".")[1:]) for a in node.names if a.name.startswith("flowguide.")}
    return found


FILES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down(file: Path) -> None:
    here = room(file.relative_to(PACKAGE).with_suffix("").parts)
    assert here in FLOORS, f"{here} has no floor: give it one in this test and in CONTRIBUTING.md"
    for target in imports_of(file):
        there = room(target)
        assert there in FLOORS or there.startswith("__"), f"{file} imports {there}, which has no floor"
        same_floor_below = {"options", "registry"} >= {here, there}
        assert there == here or there.startswith("__") or same_floor_below or FLOORS[there] < FLOORS[here], (
            f"{here} (floor {FLOORS[here]}) imports {there} (floor {FLOORS[there]})"
        )


def test_the_check_sees_an_upward_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paths").mkdir()
    file = tmp_path / "paths" / "bad.py"
    file.write_text(
        "def f():\n    from ..training import loop\n    import flowguide.cli.main\n    from flowguide import data\n"
    )
    monkeypatch.setitem(imports_of.__globals__, "PACKAGE", tmp_path)
    assert {room(target) for target in imports_of(file)} == {"training", "cli", "data"}


def test_alpha_dot_and_conversions_stay_in_their_file() -> None:
    """Coefficients' derivatives are used where paths are made and nowhere else."""
    users = {file.relative_to(PACKAGE).parts[0] for file in FILES if "alpha_dot" in file.read_text()}
    assert users == {"paths"}
