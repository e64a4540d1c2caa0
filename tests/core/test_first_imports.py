"""First imports in the middle of an operation: no signal handler's exception strikes one."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exlab_store.first_imports import import_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
# Programs of their own, which nobody calls with an alarm; and the children of others, which have no threads but one.
PROGRAMS = {"benching", "cli", "clients", "doctor", "frozen", "testing", "exlab_store_smb/bypass.py"}

# In an interpreter of its own, as this one has imported everything. "import" is raised for what is not there yet.
OPERATIONS = """
import sys, threading
from exlab_store import DocumentNotFound, open_store

found = []

def note(event, arguments):
    if event == "import" and threading.current_thread() is threading.main_thread():
        found.append(arguments[0])

store = open_store(sys.argv[1])
sys.addaudithook(note)
store.atomic_write("folder/a.json", b"{}")
store.update("folder/a.json", lambda _: b"1")
store.atomic_write("folder/a.json", b"2", expect=store.read_snapshot("folder/a.json").version)
with store.lock("folder/a.json") as lock:
    store.atomic_write("folder/a.json", b"3", lock=lock)
store.watch(timeout=0).close()
list(store.list_keys())
list(store.read_many(["folder/a.json"] * 20, concurrency=4))
list(store.list_leftovers())
(store.root / "folder").relative_to("")
try:
    store.read_snapshot("nothing/here.json")
except DocumentNotFound:
    pass
store.delete("folder/a.json")
store.aio
print(*found)
"""


@pytest.mark.parametrize("location", ["memory://", "directory"])
def test_no_operation_imports_in_the_main_thread(tmp_path: Path, location: str) -> None:
    where = str(tmp_path) if location == "directory" else location
    ran = subprocess.run([sys.executable, "-c", OPERATIONS, where], capture_output=True, text=True, check=False)
    assert (ran.stdout.split(), ran.stderr) == ([], "")


def test_a_retry_imports_in_another_thread() -> None:
    program = """
import sys, threading
from exlab_store import BackendUnavailable, open_store
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory
from exlab_store.backend import hookimpl

class Away(MemoryBackend):
    answers = 0

    @hookimpl
    def read_snapshot(self, key):
        self.answers += 1
        if self.answers < 2:
            raise BackendUnavailable("not now")
        return super().read_snapshot(key)

found = []

def note(event, arguments):
    if event == "import" and threading.current_thread() is threading.main_thread():
        found.append(arguments[0])

store = open_store(backend=Away(Memory()))
store.atomic_write("a.json", b"1")
sys.addaudithook(note)
store.read_snapshot("a.json")
print(*found)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.stdout.split(), ran.stderr) == ([], "")


def test_a_module_that_cannot_be_imported_is_left_to_the_statement() -> None:
    import_whole("no_module_has_this_name")
    assert "no_module_has_this_name" not in sys.modules


@pytest.mark.skipif(sys.platform != "linux", reason="this system does not list the threads of a process in /proc")
def test_a_program_of_one_thread_is_one_again_when_a_module_is_imported() -> None:
    program = """
import os
from exlab_store.first_imports import import_whole

names = ("cmd code colorsys dbm fractions getopt gettext imaplib mailbox modulefinder netrc pdb pickletools plistlib "
         "poplib pprint profile pstats pyclbr sched shelve smtplib statistics tabnanny timeit trace wave").split()
for name in names:
    import_whole(name)
    print(*os.listdir("/proc/self/task")[1:], end="")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("", "")


def _imports_in_functions() -> Iterator[tuple[str, str]]:
    """What the functions of each module import and do not have imported whole."""
    for folder in "exlab_store", "plugins":
        for path in sorted((ROOT / folder).glob("**/*.py")):
            name = str(path.relative_to(ROOT))
            if any(program in name for program in PROGRAMS):
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
