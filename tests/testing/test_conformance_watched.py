"""No fixture of the kit can hang: what may call the backend is run by the watch."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from exlab_store.testing import conformance

pytestmark = pytest.mark.one_interpreter

_OF_PYTEST = {"harness", "watch", "open_backend", "open_hooks", "open_client", "guarantees", "oracle"}
"""They call nothing of a backend before the test does; `open_backend` has its own watch at its end."""


def _fixtures_of_pytest(path: Path) -> set[str]:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return {
        function.name
        for function in functions
        for decorator in function.decorator_list
        if "fixture" in ast.unparse(decorator) and ast.unparse(decorator) != "watched_fixture"
    }


@pytest.mark.parametrize(
    "path", sorted(Path(str(conformance.__file__)).parent.glob("*.py")), ids=lambda path: path.stem
)
def test_a_fixture_of_the_kit_that_may_call_the_backend_is_a_watched_one(path: Path) -> None:
    assert _fixtures_of_pytest(path) == (_OF_PYTEST if path.stem == "clientele" else set())
