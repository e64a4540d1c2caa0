"""First imports in the middle of an operation: one that a signal handler's exception strikes holds up nobody."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from noted_imports import NOTED, late_imports, said

from exlab_store.first_imports import import_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
# Programs of their own, which nobody calls with an alarm; and the children of others, which have no threads but one.
PROGRAMS = {"benching", "cli", "clients", "doctor", "frozen", "testing", "exlab_store_smb/bypass.py"}

RETRY = """
from exlab_store import BackendUnavailable, open_store
from exlab_store.backend import hookimpl
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory

class Away(MemoryBackend):
    answers = 0

    @hookimpl
    def read_snapshot(self, key):
        self.answers += 1
        if self.answers < 2:
            raise BackendUnavailable("not now")
        return super().read_snapshot(key)

store = open_store(backend=Away(Memory()))
store.atomic_write("a.json", b"1")
sys.addaudithook(note)
store.read_snapshot("a.json")
print(*found)
"""


@pytest.mark.parametrize("location", ["memory://", "directory"])
def test_what_an_operation_imports_is_imported_whole(tmp_path: Path, location: str) -> None:
    assert late_imports(str(tmp_path) if location == "directory" else location) == []


def test_what_a_retry_imports_is_imported_whole() -> None:
    assert said(NOTED + RETRY) == ""


# Struck at each moment in the import system, one more each time; other threads import the same module and another one.
STRUCK = """
import signal, sys, threading
from signal_strikes import Alarm, TimeUp, striking
from exlab_store.first_imports import import_whole

alarm = Alarm()
signal.signal(signal.SIGALRM, alarm)
sys.unraisablehook = lambda _: None  # what is raised in a weak reference's callback goes nowhere
came_out = moment = 0
where = ["begin"]

def import_both():
    import colorsys, sched

while where:
    moment += 1
    sys.modules.pop("colorsys", None)
    sys.modules.pop("sched", None)
    with striking(alarm, moment, modules=("importlib", "_frozen_importlib")) as where:
        try:
            import_whole("colorsys")
        except TimeUp:
            came_out += 1
            if "colorsys" not in sys.modules:
                print("not imported:", where)
    other = threading.Thread(target=import_both, daemon=True)
    other.start()
    other.join(30)
    if other.is_alive():
        print("holds up another thread:", where)
        break
if came_out < 50:
    print("struck only", came_out, "times of", moment)
"""


def test_a_strike_at_each_moment_of_a_first_import_comes_out_and_holds_up_no_other_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    assert said(STRUCK) == ""


def test_what_a_module_raises_itself_is_left_to_the_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaves.py").write_text("print('run'); raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert said("from exlab_store.first_imports import import_whole; import_whole('leaves')") == "run"


def test_a_module_that_cannot_be_imported_is_left_to_the_statement() -> None:
    import_whole("no_module_has_this_name")
    assert "no_module_has_this_name" not in sys.modules


def _imports_in_functions() -> Iterator[tuple[str, str]]:
    """What the functions of each module import and do not have imported whole."""
    for folder in "exlab_store", "plugins":
        for path in sorted((ROOT / folder).glob("**/*.py")):
            name = str(path.relative_to(ROOT))
            if PROGRAMS & {*path.parts, f"{path.parent.name}/{path.name}"}:
                continue
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            functions = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
            whole = {
                str(argument.value)
                for node in nodes
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "import_whole"
                for argument in node.args
                if isinstance(argument, ast.Constant)
            }
            for node in {inner for function in functions for inner in ast.walk(function)}:
                if isinstance(node, ast.Import):
                    imported = {(alias.name, alias.name) for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    imported = {(str(node.module), f"{node.module}.{alias.name}") for alias in node.names}
                else:
                    continue
                for module, member in imported:
                    if not any(each in {member, module} or each.startswith(f"{module}.") for each in whole):
                        yield name, member


def test_every_import_in_a_function_has_its_module_imported_whole() -> None:
    assert list(_imports_in_functions()) == []
