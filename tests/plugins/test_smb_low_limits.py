"""Servers that grant little: few credits, small answers, old dialects. Everything works, in more round trips."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import lacking

from exlab_store import LockLost, LockTimeout, Store, open_store, version_of
from exlab_store.clients.process import ClientProcess
from exlab_store.testing.conformance.clients import KitRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

MIB = 1 << 20
SETTINGS = {
    "answers of 8 KiB": {"smb2 max trans": "8192"},
    "8 credits": {"smb2 max credits": "8"},
    "3 credits": {"smb2 max credits": "3"},
    "1 credit": {"smb2 max credits": "1"},
    "64 KiB a READ": {"smb2 max read": "65536"},
    "64 KiB a WRITE": {"smb2 max write": "65536"},
    "SMB 2.0.2": {"server max protocol": "SMB2_02"},
    "SMB 2.0.2 with 8 credits": {"server max protocol": "SMB2_02", "smb2 max credits": "8"},
    "SMB 2.1": {"server max protocol": "SMB2_10"},
    "SMB 3.0": {"server max protocol": "SMB3_00"},
    "SMB 3.0.2": {"server max protocol": "SMB3_02"},
    "SMB 3.1.1": {"server min protocol": "SMB3_11"},
    "encrypted, with 8 credits": {"smb2 max credits": "8", "server smb encrypt": "required"},
}


@contextmanager
def server(settings: dict[str, str]) -> Iterator[SambaServer]:
    if sys.platform != "linux":
        pytest.skip("the test server is managed through /proc")
    from samba_server import SambaServer, find_smbd

    if find_smbd() is None:
        lacking("install Debian's package samba: its smbd is the server of the SMB tests")
    with tempfile.TemporaryDirectory(prefix="exlab-store-samba-") as directory:
        Path(directory).chmod(0o755)
        found = SambaServer(Path(directory, "server"), global_settings={"server min protocol": "SMB2_02", **settings})
        with found:
            yield found


@pytest.fixture(scope="module", params=[*SETTINGS.values()], ids=[*SETTINGS])
def samba(request: pytest.FixtureRequest) -> Iterator[SambaServer]:
    with server(request.param) as found:
        yield found


@pytest.fixture
def lab(samba: SambaServer) -> Iterator[Store]:
    # Waiting in vain for credits would use the time up.
    with open_store(samba.url(), password=samba.password, timeout=20) as store:
        yield store


def in_time(lab: Store, call: Callable[[Store], object]) -> None:
    """An operation that waits in vain for something has failed, even if a second attempt helps."""
    began = time.monotonic()
    call(lab)
    assert time.monotonic() - began < 9


def test_a_document_in_new_folders_is_written_updated_read_and_deleted(lab: Store) -> None:
    key = "new/deeper/a.json"
    in_time(lab, lambda store: store.atomic_write(key, b"1"))
    in_time(lab, lambda store: store.update(key, lambda data: (data or b"") + b"2"))
    assert lab.read_snapshot(key).data == b"12"
    in_time(lab, lambda store: store.atomic_write(key, b"3", expect=version_of(b"12")))
    in_time(lab, lambda store: store.delete(key, expect=version_of(b"3")))
    with pytest.raises(FileNotFoundError):
        lab.read_snapshot(key)


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, MIB, 5 * MIB])
def test_a_document_of_any_size_comes_back_as_it_was_written(lab: Store, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    lab.atomic_write("a.bin", data[:size])
    for _ in range(2):  # the size is not known at first
        assert lab.read_snapshot("a.bin").data == data[:size]


def test_folders_of_any_size_are_listed_whole(samba: SambaServer, lab: Store) -> None:
    keys = [f"{folder}/{number:04d}.json" for folder, count in (("few", 3), ("many", 1500)) for number in range(count)]
    for folder in ("few", "many", "none"):
        (samba.root / folder).mkdir(exist_ok=True)
    for key in keys:
        (samba.root / key).touch()
    assert [key for key in lab.list_keys() if key.split("/")[0] in {"few", "many", "none"}] == keys


def test_a_lock_keeps_others_out_and_its_record_says_whose_it_is(samba: SambaServer, lab: Store) -> None:
    with open_store(samba.url(user=False), **samba.options) as other, other.lock("b.json", purpose="test"):
        with pytest.raises(LockTimeout) as caught:
            lab.lock("b.json", timeout=0.2)
        assert caught.value.holder is not None
        assert caught.value.holder.purpose == "test"
        (found,) = [left for left in lab.list_leftovers() if left.name == "b.json.lock"]
        assert (found.held, found.owner) == (True, caught.value.holder)
    in_time(lab, lambda store: store.lock("b.json", timeout=5).release())


def test_a_lock_that_is_waited_for_does_not_hold_other_threads_up(samba: SambaServer, lab: Store) -> None:
    holder = ClientProcess(KitRequests, 10.0).open(samba.url(), {"password": samba.password})
    try:
        holder.ask("lock", key="c.json", timeout=5.0)
        held = threading.Event()

        def wait() -> None:
            with lab.lock("c.json", timeout=20):
                held.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        for number in range(10):
            in_time(lab, lambda store, number=number: store.atomic_write("d.json", str(number).encode()))  # type: ignore[misc]
        assert not held.is_set()
        holder.kill()
        assert held.wait(10)
        waiting.join()
    finally:
        holder.end()


def test_no_increment_of_eight_threads_is_lost(lab: Store) -> None:
    def add(_: int) -> None:
        lab.update("count", lambda data: str(int(data or b"0") + 1).encode())

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(40)))
    assert int(lab.read_snapshot("count").data) == 40


def test_a_lock_that_was_lost_writes_nothing(samba: SambaServer, lab: Store) -> None:
    lab.atomic_write("e.json", b"old")
    with lab.lock("e.json") as held:
        for pid in samba.client_pids():
            samba.kill_client(pid)
        with pytest.raises(LockLost):
            lab.atomic_write("e.json", b"new", lock=held)
    assert lab.read_snapshot("e.json").data == b"old"
    lab.lock("e.json", timeout=5).release()
