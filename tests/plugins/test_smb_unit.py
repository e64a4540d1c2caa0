"""The small parts of the SMB backend, and what it does with servers, and networks, that are not all they should be."""

from __future__ import annotations

import errno
import logging
import socket
import struct
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import pytest
from conftest import lacking
from exlab_store_smb.session.options import SmbOptions
from exlab_store_smb.steps.room import Room
from exlab_store_smb.wire import messages, statuses
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.messages import Reply

from exlab_store import (
    ABSENT,
    AccessDenied,
    BackendUnavailable,
    DocumentExists,
    DocumentNotFound,
    GuaranteeNotMet,
    Guarantees,
    InvalidKey,
    LockTimeout,
    StorageFull,
    Store,
    StoreError,
    WriteOutcomeUnknown,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer

_MIB = 1 << 20

# Room


def test_a_share_of_which_nothing_is_known_is_taken_for_full() -> None:
    assert not Room().suffices_for(1)


def test_a_share_with_a_gibibyte_to_spare_has_room_for_a_document() -> None:
    room = Room()
    room.note(1 << 30)
    assert room.suffices_for(_MIB)


def test_room_that_others_may_have_taken_meanwhile_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    room, now = Room(), time.monotonic()
    room.note(1 << 30)
    monkeypatch.setattr(time, "monotonic", lambda: now + 10)
    assert not room.suffices_for(1)


def test_a_share_that_had_no_room_where_it_said_there_was_is_taken_for_full_from_then_on() -> None:
    room = Room()
    room.distrust()
    room.note(1 << 40)
    assert not room.suffices_for(1)


# Accounts and options


@pytest.mark.parametrize(
    ("username", "domain", "account"),
    [
        (None, None, None),
        (None, "LAB", None),
        ("svc", None, "svc"),
        ("svc", "LAB", r"LAB\svc"),
        (r"LAB\svc", None, r"LAB\svc"),
        (r"LAB\svc", "OTHER", r"LAB\svc"),
        ("svc@lab.example", "OTHER", "svc@lab.example"),
        ("LAB;svc", None, r"LAB\svc"),
        ("LAB;svc", "OTHER", r"LAB\svc"),
        (";svc", None, "svc"),
    ],
)
def test_an_account_is_written_as_the_server_wants_it(
    username: str | None, domain: str | None, account: str | None
) -> None:
    assert SmbOptions(host="nas", username=username, domain=domain).account == account


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"port": 65536},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"connect_timeout": 0},
    ],
    ids=str,
)
def test_an_option_that_is_out_of_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SmbOptions(host="nas", **wrong)


def test_options_do_not_show_the_password() -> None:
    assert "hunter2" not in repr(SmbOptions(host="nas", username="svc", password="hunter2"))


# Deadlines


def test_a_deadline_of_no_seconds_is_over() -> None:
    assert Deadline(0).over


def test_a_deadline_that_is_over_has_nothing_left() -> None:
    assert Deadline(-5).remaining() == 0


def test_a_deadline_to_come_is_not_over() -> None:
    assert not Deadline(60).over


def test_half_a_deadline_comes_before_the_whole() -> None:
    assert 29 < Deadline(60).half().remaining() <= 30


@pytest.mark.parametrize(("seconds", "expected"), [(10, 10), (100, 60)])
def test_a_part_of_a_deadline_is_never_later_than_the_whole(seconds: float, expected: float) -> None:
    assert expected - 1 < Deadline(60).within(seconds).remaining() <= expected


# Statuses


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0xC0000022, AccessDenied),  # ACCESS_DENIED
        (0xC00000A2, AccessDenied),  # MEDIA_WRITE_PROTECTED
        (0xC0000121, AccessDenied),  # CANNOT_DELETE
        (0xC0000043, AccessDenied),  # SHARING_VIOLATION
        (0x8000002D, AccessDenied),  # STOPPED_ON_SYMLINK
        (0xC0000257, AccessDenied),  # PATH_NOT_COVERED
        (0xC000007F, StorageFull),  # DISK_FULL
        (0xC0000044, StorageFull),  # QUOTA_EXCEEDED
        (0xC0000033, InvalidKey),  # OBJECT_NAME_INVALID
        (0xC0000106, InvalidKey),  # NAME_TOO_LONG
        (0xC00000BA, InvalidKey),  # FILE_IS_A_DIRECTORY
        (0xC0000103, InvalidKey),  # NOT_A_DIRECTORY
        (0xC000009A, BackendUnavailable),  # INSUFFICIENT_RESOURCES
        (0xC0000185, BackendUnavailable),  # IO_DEVICE_ERROR
        (0xC0FFEE00, BackendUnavailable),  # nobody knows
    ],
    ids=lambda value: f"{value:#x}" if isinstance(value, int) else value.__name__,
)
def test_what_a_server_answers_becomes_the_error_that_says_the_same(status: int, kind: type[StoreError]) -> None:
    assert type(statuses.translated(status, "write the document")) is kind


def test_an_error_says_what_was_tried_and_what_the_server_called_its_refusal() -> None:
    error = statuses.translated(0xC0000022, "write the document")
    assert error.message == "cannot write the document: the server answers ACCESS_DENIED"


def test_a_status_without_a_name_is_shown_as_a_number() -> None:
    assert "0xc0ffee00" in str(statuses.translated(0xC0FFEE00, "read the document"))


@pytest.mark.parametrize(("status", "number"), [(0xC000007F, errno.ENOSPC), (0xC0000044, errno.EDQUOT)])
def test_a_full_disk_is_told_from_a_used_up_quota(status: int, number: int) -> None:
    error = statuses.translated(status, "write the document")
    assert isinstance(error, StorageFull)
    assert error.errno == number


# Messages, byte for byte as [MS-SMB2] and [MS-FSCC] have them

_FILE_ID = bytes(range(16))
_RELATED = b"\xff" * 16


def _create(access: int, disposition: int, options: int, share: int, path: str) -> bytes:
    name = path.encode("utf-16-le")
    return struct.pack(
        "<HBBIQQIIIIIHHII", 57, 0, 0, 2, 0, 0, access, 0, share, disposition, options, 120, len(name), 0, 0
    ) + (name or b"\0\0")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (messages.open_to_read("a\\é.json"), _create(0x100081, 1, 0x40, 7, "a\\é.json")),
        (messages.create_document("d.tmp"), _create(0x110082, 2, 0x40, 7, "d.tmp")),
        (messages.open_for_flush("d"), _create(0x100082, 1, 0x40, 7, "d")),
        (messages.open_for_rename("d"), _create(0x110080, 1, 0x40, 7, "d")),
        (messages.open_for_deletion("d"), _create(0x110080, 1, 0, 7, "d")),
        (messages.open_to_delete("d"), _create(0x110080, 1, 0x1040, 0, "d")),
        (messages.open_to_ask("d"), _create(0x100080, 1, 0, 7, "d")),
        (messages.open_directory("d"), _create(0x100082, 1, 1, 7, "d")),
        (messages.open_parent("d"), _create(0x100084, 1, 1, 7, "d")),
        (messages.make_directory("d"), _create(0x100080, 3, 1, 7, "d")),
        (messages.open_lock_file("d.lock"), _create(0x100083, 3, 0x40, 3, "d.lock")),
        (messages.open_lock_file_to_read("d.lock"), _create(0x100081, 1, 0x40, 3, "d.lock")),
        (
            messages.read(5, 70_000, _FILE_ID),
            # Where the server is to put the data in its answer is a wish; 0 is none.
            struct.pack("<HBBIQ16sIIIHHB", 49, 0, 0, 70_000, 5, _FILE_ID, 0, 0, 0, 0, 0, 0),
        ),
        (
            messages.write(5, b"data"),
            struct.pack("<HHIQ16sIIHHI", 49, 0x70, 4, 5, _RELATED, 0, 0, 0, 0, 0) + b"data",
        ),
        (messages.flush(_FILE_ID), struct.pack("<HHI16s", 24, 0, 0, _FILE_ID)),
        (messages.close(), struct.pack("<HHI16s", 24, 0, 0, _RELATED)),
        (
            messages.rename("a\\b", _FILE_ID),
            struct.pack("<HBBIHHI16s", 33, 1, 10, 26, 96, 0, 0, _FILE_ID)
            + struct.pack("<BBHIQI", 1, 0, 0, 0, 0, 6)
            + "a\\b".encode("utf-16-le"),
        ),
        (messages.lock_byte_0(_FILE_ID, wait=True), struct.pack("<HHI16sQQII", 48, 1, 0, _FILE_ID, 0, 1, 2, 0)),
        (messages.lock_byte_0(wait=False), struct.pack("<HHI16sQQII", 48, 1, 0, _RELATED, 0, 1, 0x12, 0)),
        (messages.query_room(), struct.pack("<HBBIHHIII16s", 41, 2, 7, 32, 0, 0, 0, 0, 0, _RELATED)),
        (
            messages.mark(7),
            struct.pack("<HBBIHHI16s", 33, 1, 4, 40, 96, 0, 0, _RELATED) + struct.pack("<QQQQII", 7, 0, 0, 0, 0, 0),
        ),
        (messages.create_document("d.tmp", marked=True), _create(0x110182, 2, 0x40, 7, "d.tmp")),
        (messages.create_probe("d.tmp"), _create(0x110080, 2, 0x1040, 7, "d.tmp")),
        (messages.query_links(), struct.pack("<HBBIHHIII16s", 41, 1, 5, 24, 0, 0, 0, 0, 0, _RELATED)),
    ],
    ids=(
        "open_to_read create_document open_for_flush open_for_rename open_for_deletion open_to_delete open_to_ask "
        "open_directory open_parent make_directory open_lock_file open_lock_file_to_read read write flush close rename "
        "lock_and_wait lock_at_once query_room mark create_marked create_probe query_links"
    ).split(),
)
def test_a_request_is_what_the_specification_says(message: Any, expected: bytes) -> None:
    assert message.pack() == expected


def _created(size: int = 0, attributes: int = 0x80) -> Reply:
    times = struct.pack("<QQQQ", 1, 2, 3, 4)
    head = struct.pack("<HBBI", 89, 0, 0, 1)
    return Reply(0, head + times + struct.pack("<QQII16sII", 4096, size, attributes, 0, _FILE_ID, 0, 0))


def test_the_file_id_is_read_out_of_the_answer_to_create() -> None:
    assert messages.file_id_of(_created()) == _FILE_ID


def test_the_times_are_read_out_of_the_answer_to_create() -> None:
    assert (messages.created_at(_created()), messages.changed_at(_created())) == (1, 4)


def test_the_size_is_read_out_of_the_answer_to_create() -> None:
    assert messages.size_of(_created(size=5 << 30)) == 5 << 30


@pytest.mark.parametrize(("attributes", "expected"), [(0x10, True), (0x11, True), (0x80, False), (0x20, False)])
def test_a_directory_is_known_by_its_attributes(attributes: int, expected: bool) -> None:
    assert messages.is_directory(_created(attributes=attributes)) is expected


def test_the_data_is_read_out_of_the_answer_to_read() -> None:
    assert messages.read_bytes(Reply(0, struct.pack("<HBBIII", 17, 0x50, 0, 4, 0, 0) + b"datapadding")) == b"data"


def test_data_that_the_server_has_put_further_back_is_found_there() -> None:
    assert messages.read_bytes(Reply(0, struct.pack("<HBBIII", 17, 0x58, 0, 4, 0, 0) + bytes(8) + b"data")) == b"data"


def test_the_count_is_read_out_of_the_answer_to_write() -> None:
    assert messages.written_count(Reply(0, struct.pack("<HHIIHH", 17, 0, 70_000, 0, 0, 0))) == 70_000


def test_the_room_that_is_free_is_what_this_caller_may_use() -> None:
    information = struct.pack("<QQQII", 1000, 10, 500, 8, 512)
    assert messages.room_of(Reply(0, struct.pack("<HHI", 9, 72, 32) + information)) == 10 * 8 * 512


@pytest.mark.parametrize(("links", "going", "expected"), [(1, 0, 1), (2, 0, 2), (0, 0, 0), (1, 1, 0)])
def test_a_file_that_is_to_go_has_no_name_any_more(links: int, going: int, expected: int) -> None:
    information = struct.pack("<QQIBBH", 4096, 10, links, going, 0, 0)
    assert messages.links_of(Reply(0, struct.pack("<HHI", 9, 72, 24) + information)) == expected


# A real server behind a wire that changes what it says

_READ, _CREATE, _FLUSH, _SET_INFO = 8, 5, 7, 17
_SIGNED = 0x8


def _whole(_: bytearray) -> bool:
    return True


class EditedWire:
    """A TCP proxy that passes each answer of the server through a function.

    Attributes:
        port: On 127.0.0.1.
        edit: Changes an answer in place; False cuts the connection instead of delivering it.
    """

    def __init__(self, port: int) -> None:
        self.edit: Callable[[bytearray], bool] = _whole
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for each in [self._listener, *self._sockets]:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._sockets += [client, server]
            for pump in (self._requests, self._answers):
                self._threads.append(threading.Thread(target=pump, args=(client, server)))
                self._threads[-1].start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(_MIB):
                server.sendall(data)
        self._cut(client, server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), server.makefile("rb") as stream:
            while length := stream.read(4):
                message = bytearray(stream.read(int.from_bytes(length)))
                if not self.edit(message):
                    break
                client.sendall(length + message)
        self._cut(client, server)

    def _cut(self, *ends: socket.socket) -> None:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _parts(message: bytearray) -> list[int]:
    """Where each answer of a compound begins."""
    starts = [0]
    while following := int(struct.unpack_from("<I", message, starts[-1] + 20)[0]):
        starts.append(starts[-1] + following)
    return starts


def _command(message: bytearray, start: int) -> int:
    return int(struct.unpack_from("<H", message, start + 12)[0])


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


@pytest.fixture
def signed(samba: SambaServer, wire_edited: EditedWire) -> Iterator[Store]:
    """A store with little patience, over a wire that has been honest so far."""
    with open_store(samba.url(port=wire_edited.port), password=samba.password, timeout=1.5) as store:
        store.atomic_write("d.json", b"what is stored")
        yield store


def _strip_signatures(message: bytearray) -> bool:
    for start in _parts(message):
        if _command(message, start) > 1:
            message[start + 16] &= ~_SIGNED
            message[start + 48 : start + 64] = bytes(16)
    return True


def _alter_data(message: bytearray) -> bool:
    for start in _parts(message):
        if _command(message, start) == _READ and _status(message, start) == 0:
            message[start + 80] ^= 1
    return True


def _alter_data_without_signature(message: bytearray) -> bool:
    return _alter_data(message) and _strip_signatures(message)


def _claim_absence(message: bytearray) -> bool:
    if _command(message, 0) == _CREATE:
        struct.pack_into("<I", message, 8, 0xC0000034)
    return True


_FORGERIES = [_strip_signatures, _alter_data, _alter_data_without_signature]


@pytest.mark.parametrize("forgery", [*_FORGERIES, _claim_absence])
def test_an_answer_that_was_altered_on_the_wire_is_not_believed(
    signed: Store, wire_edited: EditedWire, forgery: Callable[[bytearray], bool]
) -> None:
    wire_edited.edit = forgery
    with pytest.raises(BackendUnavailable):
        signed.read_snapshot("d.json")


@pytest.mark.parametrize("forgery", [*_FORGERIES, _claim_absence])
def test_a_store_works_again_when_the_wire_is_honest_again(
    signed: Store, wire_edited: EditedWire, forgery: Callable[[bytearray], bool]
) -> None:
    wire_edited.edit = forgery
    with suppress(StoreError):
        signed.read_snapshot("d.json")
    wire_edited.edit = _whole
    assert signed.read_snapshot("d.json").data == b"what is stored"


def test_a_write_whose_acknowledgement_was_forged_has_an_unknown_outcome(
    signed: Store, wire_edited: EditedWire
) -> None:
    def strip_from_the_rename_on(message: bytearray) -> bool:
        if _command(message, 0) == _SET_INFO:
            wire_edited.edit = _strip_signatures
        return wire_edited.edit is not _strip_signatures or _strip_signatures(message)

    wire_edited.edit = strip_from_the_rename_on
    with pytest.raises(WriteOutcomeUnknown):
        signed.atomic_write("d.json", b"new")


def test_a_write_whose_data_was_acknowledged_by_a_forger_has_not_happened(
    signed: Store, wire_edited: EditedWire, samba: SambaServer
) -> None:
    wire_edited.edit = _strip_signatures
    with pytest.raises(BackendUnavailable):
        signed.atomic_write("d.json", b"new")
    assert (samba.root / "d.json").read_bytes() == b"what is stored"


def test_a_lock_whose_grant_was_forged_is_not_held(signed: Store, wire_edited: EditedWire) -> None:
    wire_edited.edit = _strip_signatures
    with pytest.raises(StoreError):
        signed.lock("d.json", timeout=1)


# A server that refuses compounds


def _refuse_compounds(message: bytearray) -> bool:
    for start in _parts(message)[1:]:
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
        local.lock("new/d.json", timeout=1).release()


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
        if _command(message, 0) == _SET_INFO:
            wire_edited.edit = _refuse_compounds
            return False
        return _refuse_compounds(message)

    wire_edited.edit = lose_the_rename
    one_by_one.atomic_write("d.json", b"new")
    assert (samba.root / "d.json").read_bytes() == b"new"


# A server that does not flush directories


def _refuse_to_flush_directories(message: bytearray) -> bool:
    of_directory = False
    for start in _parts(message):
        if _command(message, start) == _CREATE and _status(message, start) == 0:
            of_directory = bool(message[start + 64 + 56] & 0x10)
        elif _command(message, start) == _FLUSH and of_directory:
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
