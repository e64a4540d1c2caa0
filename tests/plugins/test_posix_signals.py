"""Moments of a posix store at which a signal handler's exception, or a fork, once left something behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from exlab_store_posix import locking
from exlab_store_posix.mounts import FileSystem

from exlab_store import LockOwner, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc shows what is open")

PATIENCE = 60.0
OWNER = LockOwner("0" * 16, "host", "user", os.getpid(), "", "")


class Interrupted(BaseException):
    """As KeyboardInterrupt is."""


def _handler(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise Interrupted


@contextmanager
def striking(is_moment: Callable[[FrameType, str, object], bool]) -> Iterator[list[str]]:
    """Has a handler raise the first time that it is the moment; the list says whether it has."""
    where: list[str] = []

    def watch(frame: FrameType, event: str, argument: object) -> None:
        if is_moment(frame, event, argument):
            sys.setprofile(None)
            where.append(frame.f_code.co_qualname)
            _handler(signal.SIGALRM, frame)

    sys.setprofile(watch)
    try:
        yield where
    finally:
        sys.setprofile(None)


def _open_below(folder: Path) -> list[str]:
    links: list[str] = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # of the listing itself
            links.append(os.readlink(f"/proc/self/fd/{name}"))
    return [link for link in links if link.startswith(f"{folder}/")]


@pytest.mark.parametrize(
    ("operation", "place"),
    [
        (lambda store: store.delete_folder("folder"), "FileLock.release"),
        (Store.list_leftovers, "discard_all"),
    ],
    ids=["delete_folder", "list_leftovers"],
)
def test_a_strike_where_a_function_begins_that_closes_leaves_nothing_open(
    posix: Store, tmp_path: Path, operation: Callable[[Store], object], place: str
) -> None:
    posix.lock("folder/a.json").release()
    with (
        striking(lambda frame, event, _: event == "call" and frame.f_code.co_qualname == place) as where,
        suppress(Interrupted),
    ):
        operation(posix)
    assert where
    assert _open_below(tmp_path) == []
    posix.lock("folder/a.json", timeout=0).release()


def test_a_strike_in_the_wait_for_a_lock_on_an_smb_mount_closes_no_file_of_another_thread(tmp_path: Path) -> None:
    """Such a lock file is opened anew for each try; what it needs of the mount, a local file has too."""
    taken_meanwhile: list[int] = []

    def is_closed(frame: FrameType, event: str, function: object) -> bool:
        if event != "c_return" or function is not os.close or frame.f_code is not locking.take_lock.__code__:
            return False
        taken_meanwhile.append(os.open(os.devnull, os.O_RDONLY))  # gets the number that has just become free
        return True

    def take() -> locking.FileLock:
        mount = FileSystem.SMB_MOUNT
        path = str(tmp_path / "a.json.lock")
        return locking.take_lock(path, "a.json", OWNER, PATIENCE, lambda: False, lambda *_: mount, mount)

    with take():
        with striking(is_closed) as where, pytest.raises(Interrupted):
            take()
        assert where
    (descriptor,) = taken_meanwhile
    os.close(descriptor)


FORKING = """
import os, signal, sys, threading, warnings
from exlab_store import open_store
warnings.simplefilter("ignore")
waiting, held = threading.Event(), []
def wait():
    held.append(store.lock("a.json", timeout=60, cancelled=waiting.set))  # asked while it waits
    print("held", flush=True)
store = open_store(sys.argv[1])
thread = threading.Thread(target=wait)
thread.start()
waiting.wait()
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
thread.join()
signal.pause()
"""


def test_a_lock_that_a_thread_waits_for_during_a_fork_is_not_kept_by_the_child(posix: Store, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(tmp_path)]
    with (
        posix.lock("a.json") as lock,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "forked\n"
            lock.release()
            assert process.stdout.readline() == "held\n"
        finally:
            process.kill()
        with open_store(tmp_path) as other:  # the child has not ended, as it reads until this process closes the pipe
            other.lock("a.json", timeout=PATIENCE / 2).release()


FORKING_TWICE = """
import os, sys, threading, warnings
from exlab_store import LockTimeout, open_store
warnings.simplefilter("ignore")
waiting, over = threading.Event(), threading.Event()
def asked():
    waiting.set()
    return over.is_set()
def wait():
    try:
        store.lock("a.json", timeout=60, cancelled=asked)
    except LockTimeout:
        pass
store = open_store(sys.argv[1])
thread = threading.Thread(target=wait)
thread.start()
waiting.wait()
child = os.fork()
if child == 0:
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(9)]  # one has the number of the lock file
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(sum(not os.path.exists(f"/proc/self/fd/{descriptor}") for descriptor in opened))
    os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
over.set()
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_of_a_child_keeps_what_was_opened_after_a_lock_was_waited_for(posix: Store, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("the test looks into /proc")
    with posix.lock("a.json"):
        ended = subprocess.run([sys.executable, "-c", FORKING_TWICE, str(tmp_path)], timeout=PATIENCE, check=False)
    assert ended.returncode == 0


@pytest.mark.parametrize(("place", "event"), [("DirectorySource._told", "call"), ("KnownDocuments._found", "return")])
def test_a_change_that_was_heard_of_when_a_handler_struck_is_told_afterwards(
    posix: Store, place: str, event: str
) -> None:
    if posix.guarantees.watch != "pushed":
        pytest.skip("the directory for temporary files is on a file system of which the kernel tells nothing")
    with posix.watch(timeout=PATIENCE, interval=PATIENCE) as stream:
        posix.atomic_write("a.json", b"1")
        with (
            striking(lambda frame, seen, _: seen == event and frame.f_code.co_qualname == place) as where,
            pytest.raises(Interrupted),
        ):
            next(stream)
        assert where
        assert next(stream).key == "a.json"
