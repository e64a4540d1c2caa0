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
NOTED = """
import signal, sys, threading

def handler(number, frame):
    pass

found = []

def note(event, arguments):
    if event == "import" and signal.getsignal(signal.SIGALRM) is handler:
        found.append(arguments[0])

signal.signal(signal.SIGALRM, handler)
"""
OPERATIONS = """
from exlab_store import DocumentNotFound, open_store

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


def said(program: str, *arguments: str) -> str:
    """What a program prints in an interpreter of its own."""
    ran = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.strip()


@pytest.mark.parametrize("location", ["memory://", "directory"])
def test_no_handler_strikes_an_import_of_an_operation(tmp_path: Path, location: str) -> None:
    assert said(NOTED + OPERATIONS, str(tmp_path) if location == "directory" else location) == ""


def test_no_handler_strikes_an_import_of_a_retry() -> None:
    assert said(NOTED + RETRY) == ""


STRUCK = """
import random, signal, sys, threading, time
from exlab_store.first_imports import import_whole

class TimeUp(TimeoutError):
    pass

def handler(number, frame):
    raise TimeUp

signal.signal(signal.SIGALRM, handler)
names = "cmd code colorsys getopt netrc plistlib sched shelve".split()
known, struck, wrong = set(sys.modules), 0, set()
for _ in range(200):
    for name in set(sys.modules) - known:
        del sys.modules[name]
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.01))
        import_whole(*names)
        missing = [name for name in names if name not in sys.modules]
        wrong |= set(missing)
        time.sleep(60)
    except TimeUp:
        struck += 1
    if signal.getsignal(signal.SIGALRM) is not handler:
        wrong.add("the handler is gone")

def other():
    import wave, ftplib

thread = threading.Thread(target=other, daemon=True)
thread.start()
thread.join(30)
print(struck, thread.is_alive(), *wrong)
"""


def test_a_strike_at_a_first_import_comes_out_when_it_is_whole_and_other_threads_import() -> None:
    assert said(STRUCK) == "200 False"


def test_a_second_signal_strikes_at_once() -> None:
    program = """
import signal, sys
from exlab_store.first_imports import import_whole

def handler(number, frame):
    raise TimeoutError("the second")

class Slow:
    def find_spec(self, name, path, target=None):
        if name == "slow":
            signal.raise_signal(signal.SIGTERM)
            print("deferred", end=" ")
            signal.raise_signal(signal.SIGTERM)
            print("not reached")

signal.signal(signal.SIGTERM, handler)
sys.meta_path.insert(0, Slow())
try:
    import_whole("slow")
except TimeoutError as error:
    print(error, signal.getsignal(signal.SIGTERM) is handler)
"""
    assert said(program) == "deferred the second True"


def test_a_module_that_cannot_be_imported_is_left_to_the_statement() -> None:
    import_whole("no_module_has_this_name")
    assert "no_module_has_this_name" not in sys.modules


def test_each_signal_is_handled_once() -> None:
    program = """
import signal, sys
from exlab_store.first_imports import import_whole

handled = []

class Slow:
    def find_spec(self, name, path, target=None):
        if name == "slow":
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            handled.append("import")
            signal.raise_signal(signal.SIGTERM)

signal.signal(signal.SIGTERM, lambda number, frame: handled.append("TERM"))
signal.signal(signal.SIGINT, lambda number, frame: handled.append("INT"))
sys.meta_path.insert(0, Slow())
import_whole("slow")
print(*handled)
"""
    assert said(program) == "import TERM TERM INT"


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
