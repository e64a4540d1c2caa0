"""Programs that lock the same file in their own way, and this package, exclude each other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import sys
import time
from typing import TYPE_CHECKING

import filelock
import pytest
from waiting import eventually

from exlab_store import LockTimeout, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from exlab_store import Store

pytestmark = pytest.mark.one_interpreter

_SPAWN = multiprocessing.get_context("spawn")


def _byte_0(kind: str) -> bytes:
    import fcntl

    return struct.pack("@hhqqi4x", getattr(fcntl, kind), os.SEEK_SET, 0, 1, 0)


def _serve(how: str, path: str, line: Connection) -> None:
    """A program of its own that tries to lock when it is told to, and answers whether it got the lock."""
    held: list[object] = []
    while (order := line.recv()) != "end":
        if order == "release":
            for lock in held:
                if isinstance(lock, int):
                    os.close(lock)
                else:
                    lock.release()  # type: ignore[attr-defined]
            held.clear()
            line.send(True)
        elif how == "filelock":
            lock = filelock.FileLock(path)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                line.send(False)
            else:
                held.append(lock)
                line.send(True)
        else:
            import fcntl

            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _byte_0("F_WRLCK"))
            except BlockingIOError:
                os.close(descriptor)
                line.send(False)
            else:
                held.append(descriptor)
                line.send(True)


class Other:
    """The other program, as the test talks to it."""

    def __init__(self, how: str, path: str) -> None:
        self._line, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(how, path, theirs), daemon=True)
        self._process.start()

    def tell(self, order: str) -> bool:
        self._line.send(order)
        answer: bool = self._line.recv()
        return answer

    def end(self) -> None:
        self._line.send("end")
        self._process.join(10)

    def kill(self) -> None:
        self._process.kill()
        self._process.join(10)


@pytest.fixture(
    params=[
        "filelock",
        pytest.param("byte 0", marks=pytest.mark.skipif(sys.platform != "linux", reason="OFD locks are Linux's")),
    ]
)
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Other]:
    program = Other(request.param, str(tmp_path / "d.json") + ".lock")
    yield program
    program.end()


def test_a_lock_of_another_program_excludes_the_store(other: Other, posix: Store) -> None:
    assert other.tell("lock")
    with pytest.raises(LockTimeout):
        posix.lock("d.json", timeout=0)


def test_the_store_excludes_another_program(other: Other, posix: Store) -> None:
    with posix.lock("d.json", timeout=0):
        assert not other.tell("lock")


def test_the_store_gets_the_lock_that_another_program_gives_back(other: Other, posix: Store) -> None:
    assert other.tell("lock")
    other.tell("release")
    with posix.lock("d.json", timeout=5):
        pass


def test_another_program_gets_the_lock_that_the_store_gives_back(other: Other, posix: Store) -> None:
    posix.lock("d.json").release()
    assert other.tell("lock")


def test_a_holder_that_left_no_record_is_not_mistaken_for_the_one_before(other: Other, posix: Store) -> None:
    posix.lock("d.json", purpose="long ago").release()
    assert other.tell("lock")
    with pytest.raises(LockTimeout) as caught:
        posix.lock("d.json", timeout=0)
    assert caught.value.holder is None


def _hold(root: str, line: Connection) -> None:
    with open_store(root) as store, store.lock("d.json", purpose="the nightly re-sync"):
        line.send(os.getpid())
        line.recv()


def test_a_timeout_names_the_holder_in_another_process(tmp_path: Path, posix: Store) -> None:
    line, theirs = _SPAWN.Pipe()
    holder = _SPAWN.Process(target=_hold, args=(str(tmp_path), theirs), daemon=True)
    holder.start()
    pid = line.recv()
    with pytest.raises(LockTimeout, match="the nightly re-sync") as caught:
        posix.lock("d.json", timeout=0)
    line.send("end")
    holder.join(10)
    assert caught.value.holder is not None
    assert (caught.value.holder.pid, caught.value.holder.purpose) == (pid, "the nightly re-sync")


def kill_a_holder(root: Path) -> None:
    """Has a process take the lock, and kills it."""
    line, theirs = _SPAWN.Pipe()
    holder = _SPAWN.Process(target=_hold, args=(str(root), theirs), daemon=True)
    holder.start()
    line.recv()
    holder.kill()
    holder.join(10)


def test_the_lock_of_a_killed_holder_is_free(tmp_path: Path, posix: Store) -> None:
    kill_a_holder(tmp_path)
    with posix.lock("d.json", timeout=5):
        pass


def test_a_killed_holder_is_not_named_when_another_program_has_the_lock_now(
    tmp_path: Path, posix: Store, other: Other
) -> None:
    kill_a_holder(tmp_path)
    assert other.tell("lock")
    with pytest.raises(LockTimeout) as caught:
        posix.lock("d.json", timeout=0)
    assert caught.value.holder is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # threads of other tests' stores may be there
def test_a_forked_child_does_not_keep_its_parents_lock(tmp_path: Path, posix: Store) -> None:
    ready, go = os.pipe(), os.pipe()
    held = posix.lock("d.json")
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    other = Other("filelock", str(tmp_path / "d.json") + ".lock")
    while_held = other.tell("lock")
    held.release()
    after_release = other.tell("lock")
    other.end()
    os.write(go[1], b"x")
    os.waitpid(child, 0)
    assert (while_held, after_release) == (False, True)


def _die_with_a_child(root: str, line: Connection) -> None:
    """Takes the lock, forks, and is killed while the child lives on."""
    store = open_store(root)
    held = store.lock("d.json")
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    line.send((os.getpid(), child, held.key))
    line.recv()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_the_lock_of_a_killed_holder_is_free_though_its_child_lives_on(tmp_path: Path, posix: Store) -> None:
    line, theirs = _SPAWN.Pipe()
    holder = _SPAWN.Process(target=_die_with_a_child, args=(str(tmp_path), theirs), daemon=True)
    holder.start()
    _, child, _ = line.recv()
    holder.kill()
    eventually(lambda: not holder.is_alive())  # join() waits for the child too: it has a pipe of the holder
    try:
        posix.lock("d.json", timeout=5).release()
    finally:
        os.kill(child, signal.SIGKILL)
