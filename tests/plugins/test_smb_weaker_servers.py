"""Servers that refuse compounds, and servers that do not flush directories."""

from __future__ import annotations

import logging
import struct
import subprocess
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from conftest import lacking
from hostile_wire import EditedWire, command_of, parts

from exlab_store import (
    ABSENT,
    DocumentExists,
    DocumentNotFound,
    GuaranteeNotMet,
    Guarantees,
    LockTimeout,
    StorageFull,
    Store,
    StoreError,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

_MIB = 1 << 20
_READ, _CREATE, _FLUSH, _SET_INFO = 8, 5, 7, 17
_SIGNED = 0x8


def _status(message: bytearray, start: int) -> int:
    return int(struct.unpack_from("<I", message, start + 8)[0])


def _answer(message: bytearray, start: int, status: int) -> None:
    assert not message[start + 16] & _SIGNED  # otherwise the client would notice, and the test show nothing
    struct.pack_into("<I", message, start + 8, status)


@pytest.fixture
def wire_edited(samba: SambaServer) -> Iterator[EditedWire]:
    samba.change_global(server_smb_encrypt="off")  # what is encrypted cannot be edited
    with EditedWire(samba.port) as wire:
        yield wire


def _refuse_compounds(message: bytearray) -> bool:
    for start, _ in parts(message)[1:]:
        _answer(message, start, 0xC000000D)
    return True


@pytest.fixture
def one_by_one(samba: SambaServer, wire_edited: EditedWire) -> Iterator[Store]:
    wire_edited.edit = _refuse_compounds
    url = samba.url(port=wire_edited.port)
    with open_store(url, password=samba.password, require_signing=False, timeout=5) as store:
        yield store


def _names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_without_compounds_a_document_is_written_and_read(one_by_one: Store) -> None:
    one_by_one.atomic_write("d.json", b"{}")
    assert one_by_one.read_snapshot("d.json").data == b"{}"


def test_without_compounds_an_empty_document_is_written_and_read(one_by_one: Store) -> None:
    one_by_one.atomic_write("d.json", b"")
    assert one_by_one.read_snapshot("d.json").data == b""


def test_without_compounds_a_large_document_is_written_and_read(one_by_one: Store) -> None:
    data = bytes(range(256)) * (5 * _MIB // 256)
    one_by_one.atomic_write("d.bin", data)
    assert one_by_one.read_snapshot("d.bin").data == data


def test_without_compounds_a_document_is_replaced(one_by_one: Store, samba: SambaServer) -> None:
    one_by_one.atomic_write("d.json", b"old, and longer")
    one_by_one.atomic_write("d.json", b"new")
    assert (samba.root / "d.json").read_bytes() == b"new"


def test_without_compounds_no_temporary_file_is_left(one_by_one: Store, samba: SambaServer) -> None:
    one_by_one.atomic_write("d.json", b"{}")
    assert _names(samba.root) == ["d.json"]


def test_without_compounds_missing_folders_are_made(one_by_one: Store, samba: SambaServer) -> None:
    one_by_one.atomic_write("a/b/c/d.json", b"{}")
    assert (samba.root / "a/b/c/d.json").read_bytes() == b"{}"


def test_without_compounds_a_missing_document_is_not_found(one_by_one: Store) -> None:
    with pytest.raises(DocumentNotFound):
        one_by_one.read_snapshot("a/d.json")


def test_without_compounds_a_document_is_deleted(one_by_one: Store, samba: SambaServer) -> None:
    one_by_one.atomic_write("d.json", b"{}")
    one_by_one.delete("d.json")
    assert _names(samba.root) == []


def test_without_compounds_documents_are_listed(one_by_one: Store) -> None:
    for key in ("a/b.json", "c.json"):
        one_by_one.atomic_write(key, b"{}")
    assert sorted(one_by_one.list_keys()) == ["a/b.json", "c.json"]


def test_without_compounds_a_new_document_is_refused_where_there_is_one(one_by_one: Store) -> None:
    one_by_one.atomic_write("d.json", b"{}")
    with pytest.raises(DocumentExists):
        one_by_one.atomic_write("d.json", b"{}", expect=ABSENT)


def test_without_compounds_a_lock_of_somebody_else_is_respected(one_by_one: Store, samba: SambaServer) -> None:
    with open_store(samba.root) as local, local.lock("d.json"), pytest.raises(LockTimeout):
        one_by_one.lock("d.json", timeout=0.1)


def test_without_compounds_a_refused_lock_leaves_no_file_open(one_by_one: Store, samba: SambaServer) -> None:
    with open_store(samba.root) as local, local.lock("d.json"):
        for timeout in (0, 0.1):
            with pytest.raises(LockTimeout):
                one_by_one.lock("d.json", timeout=timeout)
        assert samba.holder_pids(samba.root / "d.json.lock") == []


def test_without_compounds_the_holder_of_a_lock_is_named(one_by_one: Store, samba: SambaServer) -> None:
    with (
        open_store(samba.root) as local,
        local.lock("d.json", purpose="calibration"),
        pytest.raises(LockTimeout, match="calibration"),
    ):
        one_by_one.lock("d.json", timeout=0)


def test_without_compounds_a_lock_excludes_others_until_its_release(one_by_one: Store, samba: SambaServer) -> None:
    with open_store(samba.root) as local:
        with one_by_one.lock("new/d.json"), pytest.raises(LockTimeout):
            local.lock("new/d.json", timeout=0)
        local.lock("new/d.json", timeout=20).release()


def test_without_compounds_concurrent_updates_are_all_counted(one_by_one: Store, samba: SambaServer) -> None:
    def count(store: Store) -> None:
        for _ in range(25):
            store.update("counter", lambda data: str(int(data or b"0") + 1).encode())

    with open_store(samba.root) as local:
        threads = [threading.Thread(target=count, args=(store,)) for store in (one_by_one, one_by_one, local)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (samba.root / "counter").read_bytes() == b"75"


@pytest.fixture
def full_share(samba: SambaServer, tmp_path: Path, needs_root: None) -> Iterator[Path]:
    """A share with room for one mebibyte and a half, which holds a document of one."""
    directory = tmp_path / "small"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1536k,mode=755", "tmpfs", str(directory)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        lacking("a tmpfs cannot be mounted here")
    try:
        samba.add_share("small", directory)
        (directory / "d.bin").write_bytes(b"o" * _MIB)
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def without_compounds_on_a_full_share(samba: SambaServer, wire_edited: EditedWire, full_share: Path) -> Iterator[Store]:
    wire_edited.edit = _refuse_compounds
    url = samba.url(share="small", port=wire_edited.port)
    with open_store(url, password=samba.password, require_signing=False, timeout=5) as store:
        yield store


@pytest.mark.parametrize("size", [700 << 10, 3 * _MIB])
def test_without_compounds_a_full_share_is_said_to_be_full(without_compounds_on_a_full_share: Store, size: int) -> None:
    with pytest.raises(StorageFull):
        without_compounds_on_a_full_share.atomic_write("d.bin", b"n" * size)


@pytest.mark.parametrize("size", [700 << 10, 3 * _MIB])
def test_without_compounds_a_full_share_keeps_the_old_document_and_no_temporary_file(
    without_compounds_on_a_full_share: Store, full_share: Path, size: int
) -> None:
    with suppress(StoreError):
        without_compounds_on_a_full_share.atomic_write("d.bin", b"n" * size)
    assert {path.name: path.read_bytes() for path in full_share.iterdir()} == {"d.bin": b"o" * _MIB}


def test_a_server_that_refuses_compounds_is_warned_of_once(one_by_one: Store, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        one_by_one.atomic_write(f"{number}.json", b"{}")
    assert ["compound" in text for text in _warnings(caplog)] == [True]


def test_a_server_that_refuses_compounds_promises_no_less(one_by_one: Store, samba: SambaServer) -> None:
    with open_store(samba.url(), password=samba.password) as usual:
        assert one_by_one.guarantees == usual.guarantees


def test_without_compounds_a_write_is_found_out_about_whose_acknowledgement_was_lost(
    one_by_one: Store, wire_edited: EditedWire, samba: SambaServer
) -> None:
    one_by_one.atomic_write("d.json", b"old")

    def lose_the_rename(message: bytearray) -> bool:
        if command_of(message, 0) == _SET_INFO:
            wire_edited.edit = _refuse_compounds
            return False
        return _refuse_compounds(message)

    wire_edited.edit = lose_the_rename
    one_by_one.atomic_write("d.json", b"new")
    assert (samba.root / "d.json").read_bytes() == b"new"


def _refuse_to_flush_directories(message: bytearray) -> bool:
    of_directory = False
    for start, _ in parts(message):
        if command_of(message, start) == _CREATE and _status(message, start) == 0:
            of_directory = bool(message[start + 64 + 56] & 0x10)
        elif command_of(message, start) == _FLUSH and of_directory:
            _answer(message, start, 0xC0000010)
    return True


@pytest.fixture
def flushless(samba: SambaServer, wire_edited: EditedWire) -> Iterator[Callable[..., Store]]:
    """Opens stores on a server that does not flush directories."""
    wire_edited.edit = _refuse_to_flush_directories
    with ExitStack() as stores:

        def opened(**options: Any) -> Store:
            url = samba.url(port=wire_edited.port)
            store = open_store(url, password=samba.password, require_signing=False, timeout=5, **options)
            return stores.enter_context(store)

        yield opened


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    # Fixtures log before the test itself does.
    records = [*caplog.get_records("setup"), *caplog.records]
    return [record.getMessage() for record in records if record.levelno >= logging.WARNING]


def test_where_directories_are_not_flushed_durability_is_not_claimed(
    flushless: Callable[..., Store],
) -> None:
    assert flushless().guarantees.durable is False


def test_where_directories_are_not_flushed_nothing_else_is_given_up(
    flushless: Callable[..., Store], samba: SambaServer
) -> None:
    with open_store(samba.url(), password=samba.password) as usual:
        assert flushless().guarantees == msgspec.structs.replace(usual.guarantees, durable=False)


def test_where_directories_are_not_flushed_a_demand_for_durability_is_refused(flushless: Callable[..., Store]) -> None:
    with pytest.raises(GuaranteeNotMet, match="durable"):
        flushless(require=Guarantees.at_least(durable=True))


def test_where_directories_are_not_flushed_this_is_warned_of_once(
    flushless: Callable[..., Store], caplog: pytest.LogCaptureFixture
) -> None:
    store = flushless()
    for number in range(3):
        store.atomic_write(f"{number}/d.json", b"{}")
    assert len(_warnings(caplog)) == 1


def test_where_directories_are_not_flushed_documents_are_written_and_deleted_all_the_same(
    flushless: Callable[..., Store], samba: SambaServer
) -> None:
    store = flushless()
    store.atomic_write("a/b/d.json", b"{}")
    store.update("a/b/d.json", lambda data: (data or b"") + b"\n")
    store.atomic_write("gone.json", b"{}")
    store.delete("gone.json")
    assert (samba.root / "a/b/d.json").read_bytes() == b"{}\n"
