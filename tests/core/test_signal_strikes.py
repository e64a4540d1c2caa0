"""Exceptions out of signal handlers, wherever they strike: the same comes out, and nothing is left behind."""

from __future__ import annotations

import ast
import os
import random
import re
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from signal_strikes import Alarm, TimeUp, striking
from waiting import PATIENCE

from exlab_store import DocumentNotFound, Store, open_store
from exlab_store.locks import turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")

KEY = "folder/a.json"


@pytest.fixture(params=["posix", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path if request.param == "posix" else "memory://") as opened:
        opened.atomic_write(KEY, b"old")
        yield opened


MUTEXES = {"threading.Lock()", "threading.RLock()"}
IN_PYTHON = {"threading.Condition", "threading.Semaphore", "threading.BoundedSemaphore", "queue.Queue"}
QUESTIONS = {f"os.path.{name}" for name in ("exists", "isdir", "isfile", "islink", "ismount", "lexists", "realpath")}
# No handler is there yet; a part of the path is missing.
QUESTIONS_LEFT = {"exlab_store/cli/__init__.py", "exlab_store/migrating/same_location.py"}
IN_BACKENDS = {"threading.Event", "threading.Timer"}  # of which the core and its programs have some for other threads


def _modules() -> Iterator[tuple[str, list[ast.AST]]]:
    """Each module that a program may run, and all that is written in it."""
    root = Path(__file__).parents[2]
    for folder in "exlab_store", "plugins", "docs/examples":
        for path in root.glob(f"{folder}/**/*.py"):
            if not {"testing", "tests"} & set(path.relative_to(root).parts):
                yield str(path.relative_to(root)), list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def _name(expression: ast.AST) -> str:
    return str(getattr(expression, "attr", getattr(expression, "id", "")))


def _mutexes(nodes: list[ast.AST]) -> set[str]:
    """How a module calls its mutexes; those of asyncio are others."""
    made = [node for node in nodes if isinstance(node, ast.Assign) and ast.unparse(node.value) in MUTEXES]
    return {_name(target) for node in made for target in node.targets}


def test_no_lock_is_taken_by_a_with_statement() -> None:
    """From Python 3.14 on a handler may run between the taking and the block, which then is not left."""
    found = [
        f"{path}:{node.lineno}"
        for path, nodes in _modules()
        for mutexes in [_mutexes(nodes)]
        for node in nodes
        if isinstance(node, ast.With)
        for name in [_name(item.context_expr) for item in node.items]
        if name in mutexes or re.search(r"(?:mutex|guard|lock|condition|semaphore)\Z", name)
    ]
    assert found == []


def test_nothing_is_waited_for_that_is_written_in_python() -> None:
    """What a handler raises within its code leaves the mutex in it locked; a `Latch` has no such code."""
    found = [
        f"{path}:{node.lineno}"
        for path, nodes in _modules()
        for node in nodes
        if isinstance(node, ast.Call)
        for name in [ast.unparse(node.func)]
        if name in IN_PYTHON or (name in IN_BACKENDS and path.startswith("plugins"))
    ]
    assert found == []


def test_no_question_is_asked_that_takes_an_exception_for_the_answer_no() -> None:
    """`os.path.isdir` has caught an alarm's `TimeoutError`, and says that there is no folder; `mode_at` lets it out."""
    found = [
        f"{path}:{node.lineno}"
        for path, nodes in _modules()
        if path not in QUESTIONS_LEFT
        for node in nodes
        if isinstance(node, ast.Call)
        if ast.unparse(node.func) in QUESTIONS and "strict=True" not in ast.unparse(node)
    ]
    assert found == []


def update(store: Store) -> None:
    store.update(KEY, lambda _: b"new", timeout=5)


def write(store: Store) -> None:
    store.atomic_write(KEY, b"new")


def write_expected(store: Store) -> None:
    store.atomic_write(KEY, b"new", expect=store.read_snapshot(KEY).version)


def write_under_lock(store: Store) -> None:
    with store.lock(KEY, timeout=5) as lock:
        store.atomic_write(KEY, b"new", lock=lock)


def lock(store: Store) -> None:
    with store.lock(KEY, timeout=5):
        pass


def read(store: Store) -> None:
    store.read_snapshot(KEY)


def delete(store: Store) -> None:
    store.delete(KEY)


def write_into_new_folders(store: Store) -> None:
    store.atomic_write(f"{random.randbytes(8).hex()}/deeper/a.json", b"new")


def watch(store: Store) -> None:
    store.watch(timeout=0).close()


def read_nothing(store: Store) -> None:
    with suppress(DocumentNotFound):
        store.read_snapshot("nothing/here.json")


OPERATIONS = [
    update,
    write,
    write_expected,
    write_under_lock,
    write_into_new_folders,
    lock,
    read,
    read_nothing,
    watch,
    delete,
]


class Traces:
    """What an operation may leave behind, and what the document was."""

    def __init__(self, store: Store) -> None:
        self._store = store
        with store.lock(KEY):
            store.atomic_write(KEY, b"old")
        self._descriptors = self._open()

    def _open(self) -> list[str]:
        folder = "/proc/self/fd"
        if not os.path.isdir(folder):
            return []
        links = []
        for name in os.listdir(folder):
            with suppress(FileNotFoundError):  # of the listing itself
                links.append(os.readlink(f"{folder}/{name}"))
        return sorted(links)

    def found(self, *, may_be_missing: bool) -> list[str]:
        """Sentences on what is wrong."""
        wrong = []
        if turns._turns:
            wrong.append("a turn was left")
            turns._turns.clear()
        try:
            self._store.lock(KEY, timeout=0).release()
        except Exception as error:
            wrong.append(f"the lock cannot be taken: {error!r}")
        if (now := self._open()) != self._descriptors:
            wrong.append(f"descriptors are open: {[link for link in now if link not in self._descriptors]}")
        if left := [found.name for found in self._store.list_leftovers() if found.kind == "temporary"]:
            wrong.append(f"temporary files: {left}")
        try:
            data = self._store.read_snapshot(KEY).data
        except DocumentNotFound:
            data = None
        if data not in {b"old", b"new"} and not (data is None and may_be_missing):
            wrong.append(f"the document is {data!r}")
        # What was written into new folders goes: a store in memory looks at each document when another is written.
        for key in self._store.list_keys():
            if key != KEY:
                self._store.delete_folder(key.partition("/")[0])
        return wrong


def struck(operation: Callable[[Store], None], store: Store) -> BaseException | None:
    """Carries out an operation; what it raised."""
    try:
        operation(store)
    except BaseException as error:
        return error.with_traceback(None)
    return None


# What a handler raises within a finaliser, anybody's, is lost; Python says so, and what it leaves is looked for below.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("strikes", [40, pytest.param(2500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_strike_at_a_random_moment_comes_out_and_leaves_nothing(
    store: Store, alarm: Alarm, operation: Callable[[Store], None], strikes: int
) -> None:
    traces = Traces(store)
    chance = random.Random(7)
    longest = 0.001 if operation in {update, write, write_expected, write_under_lock, delete} else 0.0001
    for number in range(strikes):
        store.atomic_write(KEY, b"old")
        raised: BaseException | None = None
        alarm.is_set = True
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.000001, longest))
            raised = struck(operation, store)
        except TimeUp:
            pass  # before or after the operation
        finally:
            alarm.is_set = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert raised is None or type(raised) is TimeUp, f"strike {number}"
        assert traces.found(may_be_missing=operation is delete) == [], f"strike {number}"


# A listing that is dropped where it begins is closed, and Python says that too.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("lines", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["calls", "lines"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_strike_at_each_moment_comes_out_and_leaves_nothing(
    store: Store, alarm: Alarm, operation: Callable[[Store], None], lines: bool
) -> None:
    traces = Traces(store)
    wrong: list[str] = []
    for moment in range(1, 2000):
        store.atomic_write(KEY, b"old")
        with striking(alarm, moment, lines=lines) as where:
            raised = struck(operation, store)
        if not where:
            break
        if type(raised) is not TimeUp:
            wrong.append(f"{where[0]}: {raised!r}")
        wrong += [f"{where[0]}: {what}" for what in traces.found(may_be_missing=operation is delete)]
    assert moment > 5
    assert not where, "there are more moments than were tried"
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("operation", [write, delete, lock])
def test_a_strike_in_a_store_in_memory_does_not_hold_up_other_threads(
    memory: Store, alarm: Alarm, operation: Callable[[Store], None]
) -> None:
    wrong: list[str] = []
    for moment in range(1, 500):
        memory.atomic_write(KEY, b"old")
        with striking(alarm, moment, modules=("exlab_store_memory", "threading")) as where:
            struck(operation, memory)
        if not where:
            break
        other = threading.Thread(target=write_under_lock, args=(memory,), daemon=True)
        other.start()
        other.join(PATIENCE)
        if other.is_alive():
            wrong += where
            break
    assert wrong == []
    assert moment > 5
