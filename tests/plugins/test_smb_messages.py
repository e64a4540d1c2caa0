"""Requests byte for byte, what is read out of the answers, and the errors that their statuses become."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest
from exlab_store_smb.wire import messages, statuses
from exlab_store_smb.wire.messages import Reply

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    InvalidKey,
    StorageFull,
    StoreError,
)

_FILE_ID = bytes(range(16))
_RELATED = b"\xff" * 16


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
        (
            messages.watch_folder(messages.ABOUT_FOLDERS, 65536, _FILE_ID),
            struct.pack("<HHI16sII", 32, 1, 65536, _FILE_ID, 2, 0),
        ),
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
        "lock_and_wait lock_at_once watch_folder query_room mark create_marked create_probe query_links"
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
