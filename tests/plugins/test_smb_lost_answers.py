"""Whether a change whose answer was lost has happened: the temporary file and the document's mark tell."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from smb_stores import NEW, OLD, opened, somebody_has_open, written
from waiting import eventually

from exlab_store import (
    AccessDenied,
    LockLost,
    WriteOutcomeUnknown,
)

if TYPE_CHECKING:
    from samba_server import SambaServer
    from wire_proxy import WireProxy


pytestmark = pytest.mark.one_interpreter


def test_a_rename_that_was_refused_is_not_taken_for_done_when_the_network_fails_while_it_is_cleared_up(
    samba: SambaServer, wire: WireProxy
) -> None:
    samba.add_share(samba.share, samba.root, veto_files="/a.json/")  # the temporary file can be made
    with opened(samba, port=wire.port, timeout=3.0) as store:
        wire.cut_at(1, "reply_lost")
        assert not written(store, samba.root / "a.json")
        assert wire.fired.is_set()


def test_a_deletion_of_the_temporary_file_whose_answer_was_lost_too_is_not_taken_for_the_rename(
    samba: SambaServer, wire: WireProxy
) -> None:
    with opened(samba, port=wire.port, timeout=5.0, one_round_trip=False) as store:
        for number in range(3, 9):  # coming back takes some messages; then the temporary file is deleted
            path = samba.root / f"{number}.json"
            path.write_bytes(OLD)
            wire.delay = 0.03  # there is time for a second plan
            wire.cut_at(1, "before_request")
            with ThreadPoolExecutor(1) as pool:
                said = pool.submit(written, store, path)
                eventually(wire.fired.is_set)
                wire.cut_at(number, "reply_lost")
                said.result()
            wire.heal()
            wire.delay = 0.0
            if said.result() is not None:
                assert path.read_bytes() == (NEW if said.result() else OLD), f"cut again at {number}"


def test_a_temporary_file_that_somebody_has_open_is_not_taken_for_renamed(samba: SambaServer, wire: WireProxy) -> None:
    path = samba.root / "a.json"
    path.write_bytes(OLD)
    with opened(samba, port=wire.port, timeout=5.0, one_round_trip=False) as store, ThreadPoolExecutor(1) as pool:
        wire.delay = 0.05  # coming back takes a while
        wire.cut_at(1, "before_request")
        said = pool.submit(written, store, path)
        eventually(wire.fired.is_set)
        with somebody_has_open(samba, next(samba.root.glob("a.json.tmp.*"))):
            said.result()
    if said.result() is not None:
        assert path.read_bytes() == (NEW if said.result() else OLD)


def test_a_temporary_file_is_not_deleted_while_its_writer_has_it_open(samba: SambaServer) -> None:
    # The writer would rename it to the document, and the document would go with it.
    path = samba.root / "a.json.tmp.1.0123456789abcdef"
    path.write_bytes(NEW)
    with opened(samba) as store:
        (leftover,) = store.list_leftovers()
        with somebody_has_open(samba, path, "rwd"), pytest.raises(AccessDenied):
            store.remove_leftover(leftover)
        assert path.exists()
        store.remove_leftover(leftover)
        assert not path.exists()


def lock_without_a_record(path: Path) -> int:
    """Locks as FileLock does on Windows and over a cifs mount: byte 0, and not a word in the file."""
    import fcntl
    import struct

    descriptor = os.open(path, os.O_RDWR)
    held = [False]

    def granted() -> bool:
        with suppress(BlockingIOError, PermissionError):
            fcntl.fcntl(descriptor, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 1, 0))  # F_OFD_SETLK
            held[0] = True
        return held[0]

    eventually(granted)
    return descriptor


def test_a_count_of_the_next_holder_is_not_taken_for_ones_own(samba: SambaServer, wire: WireProxy) -> None:
    document = samba.root / "a.json"
    document.write_bytes(b"1")
    with opened(samba, port=wire.port, timeout=10.0) as store:
        held = store.lock("a.json")
        wire.refuse()
        wire.cut_at(0, "before_request")
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(store.atomic_write, "a.json", b"2", lock=held)
            descriptor = lock_without_a_record(document.with_name("a.json.lock"))
            (samba.root / "new").write_bytes(b"2")
            os.replace(samba.root / "new", document)
            os.close(descriptor)
            wire.heal()
            with pytest.raises((LockLost, WriteOutcomeUnknown)):
                writing.result(20)


@pytest.mark.parametrize("data", [NEW, OLD], ids=["other bytes", "the same bytes"])
def test_a_write_under_a_lock_whose_answer_was_lost_is_known_by_its_mark(
    samba: SambaServer, wire: WireProxy, data: bytes
) -> None:
    (samba.root / "a.json").write_bytes(OLD)
    with opened(samba, port=wire.port, timeout=10.0) as store:
        held = store.lock("a.json")
        wire.cut_at(0, "reply_lost")
        store.atomic_write("a.json", data, lock=held)
        held.release()
    assert (samba.root / "a.json").read_bytes() == data
