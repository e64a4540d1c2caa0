"""A lock, a write and a connection when the caller is interrupted, or another thread ends what they rest on."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import lacking
from exlab_store_smb.steps.held_lock import SmbLock
from smb_stores import LARGE, NEW, interrupted, opened
from waiting import eventually

from exlab_store import (
    LockLost,
    NotSupported,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from samba_server import SambaServer
    from wire_proxy import WireProxy


pytestmark = pytest.mark.one_interpreter


def test_an_interrupted_write_gives_its_lock_up_for_it_may_still_be_under_way(
    samba: SambaServer, wire: WireProxy
) -> None:
    with opened(samba, port=wire.port) as store, store.lock("a.json") as held:
        wire.black_hole_at(0, "reply")
        with interrupted(wire.fired.is_set):
            store.atomic_write("a.json", NEW, lock=held)
        with pytest.raises(LockLost):
            held.ensure_held()


def test_an_interrupted_write_does_not_overwrite_what_the_next_holder_of_the_lock_writes(samba: SambaServer) -> None:
    with opened(samba) as store, opened(samba) as other:
        store.atomic_write("a.json", b"0")
        with store.lock("a.json"):
            (server,) = samba.holder_pids(samba.root / "a.json.lock", locked=True)
        with slow_to_flush(server):
            seen = threading.Event()

            def add_one(current: bytes | None) -> bytes:
                seen.set()
                return b"%d" % (int(current or b"0") + 1)

            with interrupted(lambda: seen.is_set() and list(samba.root.glob("a.json.tmp.*"))):
                store.update("a.json", add_one)
            other.update("a.json", lambda current: b"%d" % (int(current or b"0") + 100))
            eventually(lambda: server not in samba.client_pids())
        assert int((samba.root / "a.json").read_bytes()) >= 100


@contextmanager
def slow_to_flush(pid: int) -> Generator[None]:
    """The disk under a process takes a second to flush a file."""
    program = shutil.which("strace")
    if program is None:
        lacking("install strace: it slows a system call of the server down")
    with tempfile.NamedTemporaryFile() as log:
        command = [str(program), "-f", "-o", log.name, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=1000000"]
        tracer = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: f"TracerPid:\t{tracer.pid}" in Path(f"/proc/{pid}/status").read_text())
            yield
        finally:
            tracer.kill()  # it hangs now and then when asked to end, as a process that it delayed is gone
            tracer.wait()


def test_an_interrupted_release_frees_the_lock(samba: SambaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(samba) as store, opened(samba) as other:
        held = store.lock("a.json")

        def interrupted_before_it_is_sent(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("exlab_store_smb.session.link.Link.send_off", interrupted_before_it_is_sent)
            with pytest.raises(KeyboardInterrupt):
                held.release()
        other.lock("a.json", timeout=5).release()


def test_a_lock_that_another_thread_releases_is_held_until_the_write_under_it_has_ended(
    samba: SambaServer, wire: WireProxy
) -> None:
    with opened(samba, port=wire.port) as store, opened(samba) as other, ThreadPoolExecutor(1) as pool:
        held = store.lock("a.json")
        wire.delay = 0.02
        with wire.counting() as counted:
            writing = pool.submit(store.atomic_write, "a.json", LARGE, lock=held)
            eventually(lambda: counted.requests > 1)
            held.release()
        other.update("a.json", lambda _: b"successor")
        with suppress(LockLost):
            writing.result()
        assert (samba.root / "a.json").read_bytes() == b"successor"


def test_a_lock_of_the_backend_that_was_released_refuses_a_write_at_once(samba: SambaServer) -> None:
    with opened(samba, timeout=5.0) as store:
        held = store.lock("a.json")
        held.release()
        assert isinstance(held.inner, SmbLock)
        with pytest.raises(LockLost):
            held.inner.ensure_held()


def test_a_store_that_is_closed_while_it_connects_keeps_no_connection(samba: SambaServer, wire: WireProxy) -> None:
    store = opened(samba, port=wire.port)
    wire.cut()
    wire.delay = 0.25
    with wire.counting() as counted, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(store.read_snapshot, "a.json")
        eventually(lambda: counted.requests > 0)
        store.close()
        with pytest.raises(NotSupported):
            reading.result()
    eventually(lambda: not samba.client_pids())
