"""What holds for every module of the core and of the plugins, and the exceptions that are still to be mended.

An exception is named with its cause. A test fails as well when an exception is not needed any more: the lists only
shrink.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "exlab_store", *sorted(path.parent for path in ROOT.glob("plugins/*/__init__.py"))]
LONGEST = 450

Imports = dict[str, set[str]]


def _modules(package: Path) -> dict[str, Path]:
    """The modules of a package, by their dotted names."""
    found: dict[str, Path] = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _imports(package: Path) -> Imports:
    """Who imports whom within a package, at any time: in a function and under ``TYPE_CHECKING`` as well."""
    modules = _modules(package)
    found: Imports = {}
    for name, path in modules.items():
        imported: set[str] = set()
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{name} has a relative import, which these tests do not follow"
                base = node.module or ""
                for alias in node.names:
                    full = f"{base}.{alias.name}"
                    imported.add(full if full in modules else base)
        found[name] = {other for other in imported if other in modules and other != name}
    return found


def _reachable(imports: Imports, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def _circles(imports: Imports) -> list[list[str]]:
    """The groups of modules of which each imports each, directly or not."""
    reachable = {name: _reachable(imports, name) for name in imports}
    groups = {
        frozenset(other for other in reachable[name] if name in reachable[other])
        for name in imports
        if name in reachable[name]
    }
    return sorted(sorted(group) for group in groups)


def _without(imports: Imports, left_out: Iterable[tuple[str, str]]) -> Imports:
    arrows = set(left_out)
    return {name: {other for other in others if (name, other) not in arrows} for name, others in imports.items()}


ALLOWED = (
    ("exlab_store.store", "exlab_store.aio.store"),
    ("exlab_store.store", "exlab_store.store_path"),
    ("exlab_store.store_path", "exlab_store.aio.path"),
    ("exlab_store.aio.store", "exlab_store.aio.path"),
)
"""What a store makes names the store in a type: ``Store.aio``, and the paths that ``store / "a.json"`` makes.

No such module imports the store when it runs; the import contracts see to that.
"""


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_no_imports_go_round_in_a_circle(package: Path) -> None:
    assert _circles(_without(_imports(package), ALLOWED)) == []


def test_a_circle_is_found_wherever_it_is_closed() -> None:
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert _circles({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a"}}) == []


def _paths() -> list[Path]:
    return [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_file_is_longer_than_450_lines() -> None:
    lines = {_shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in _paths()}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


CLASSES_OF_ONE_NAME = {
    "Fault": "public in two modules: of a backend under test, and of a system call",
    "Operation": "public in two modules: of a bench, and of a history",
}


def test_no_two_classes_have_one_name() -> None:
    where: dict[str, list[str]] = {}
    for path in _paths():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef):
                where.setdefault(node.name, []).append(f"{_shown(path)}:{node.lineno}")
    twice = {name: places for name, places in where.items() if len(places) > 1}
    assert {name: places for name, places in twice.items() if name not in CLASSES_OF_ONE_NAME} == {}
    assert [name for name in CLASSES_OF_ONE_NAME if name not in twice] == []  # these are to leave the list


def test_what_happens_in_a_forked_child_is_registered_in_the_module_for_it_alone() -> None:
    registering = {
        _shown(path)
        for path in _paths()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute) and node.attr == "register_at_fork"
    }
    assert registering == {"exlab_store/forked_child.py"}
