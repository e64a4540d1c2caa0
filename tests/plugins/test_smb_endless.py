"""Servers whose answers have no end, or no sense: an operation is back within its timeout, whatever they say."""

from __future__ import annotations

import struct
import time
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from rewriting_proxy import CREATE, NEGOTIATE, QUERY_DIRECTORY, READ, WRITE, Answer, RewritingProxy
from shared_samba import empty, running_server

from exlab_store import BackendUnavailable, InvalidKey, LockTimeout, NotSupported, Store, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

MIB = 1 << 20
TIMEOUT = 1.0
LATEST = 5.0  # with what a busy machine adds


@pytest.fixture(scope="module")
def samba() -> Iterator[SambaServer]:
    with running_server(
        global_settings={"map to guest": "bad user", "guest account": "root", "server signing": "auto"},
        share_settings={"guest ok": "yes"},
    ) as server:
        yield server


@pytest.fixture(autouse=True)
def empty_share(samba: SambaServer, needs_root: None) -> None:
    empty(samba)


@contextmanager
def rewritten(samba: SambaServer, rewrite: Callable[[Answer], None], *, timeout: float = TIMEOUT) -> Iterator[Store]:
    """A guest of the server, whose answers are rewritten."""
    with (
        RewritingProxy(samba.port, rewrite) as proxy,
        open_store(
            samba.url(user="stranger", password="x", port=proxy.port), require_signing=False, timeout=timeout
        ) as store,
    ):
        yield store


@contextmanager
def comes_back(memory: int = 64 * MIB) -> Iterator[None]:
    """The operation fails with an error of the store, in time, and takes no more memory than it may."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises(StoreError):
            yield
        assert time.monotonic() - began < LATEST
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()


def said(size: int, created: bytes) -> bytes:
    """The answer to a CREATE, with another size of the file [MS-SMB2 2.2.14 EndofFile]."""
    return created[:48] + struct.pack("<Q", size) + created[56:]


def data_of(data: bytes) -> bytes:
    """The body of an answer to a READ [MS-SMB2 2.2.20]."""
    return struct.pack("<HBxIII", 17, 80, len(data), 0, 0) + data


def length_asked(answer: Answer) -> int:
    return int(struct.unpack_from("<I", answer.asked, 4)[0])


def entries_of(*entries: bytes) -> bytes:
    """The body of an answer to a QUERY_DIRECTORY [MS-SMB2 2.2.34]."""
    data = b"".join(entries)
    return struct.pack("<HHI", 9, 72, len(data)) + data


def entry(name: str, attributes: int = 0, *, last: bool = False, following: int | None = None) -> bytes:
    """One entry [MS-FSCC 2.4.17]."""
    text = name.encode("utf-16-le")
    size = 68 + len(text)
    padding = bytes(-size % 8)
    jump = following if following is not None else 0 if last else size + len(padding)
    return struct.pack("<I52xIII", jump, attributes, len(text), 0) + text + padding


# Documents


@pytest.fixture
def document(samba: SambaServer) -> str:
    (samba.root / "a.json").write_bytes(b"x" * 100_000)
    return "a.json"


def test_the_rewritten_server_is_a_good_one_where_nothing_is_rewritten(samba: SambaServer, document: str) -> None:
    with rewritten(samba, lambda _: None) as store:
        assert len(store.read_snapshot(document)) == 100_000
        store.atomic_write("b.json", b"1")
        assert store.list_keys() == ["a.json", "b.json"]


def test_a_document_without_end_is_not_read_for_ever(samba: SambaServer, document: str) -> None:
    def endless(answer: Answer) -> None:
        if answer.command == CREATE and not answer.status:
            answer.body = said(4 << 30, answer.body)
        if answer.command == READ:
            answer.status, answer.body = 0, data_of(bytes(min(MIB, length_asked(answer))))

    with rewritten(samba, endless) as store, comes_back(memory=4 << 30):
        store.read_snapshot(document)


@pytest.mark.parametrize("size", [10 * MIB, 1 << 40, (1 << 64) - 1])
def test_a_size_that_is_made_up_takes_no_memory(samba: SambaServer, document: str, size: int) -> None:
    def large(answer: Answer) -> None:
        if answer.command == CREATE and not answer.status:
            answer.body = said(size, answer.body)

    with rewritten(samba, large) as store, comes_back():
        store.read_snapshot(document)


def test_one_byte_at_a_time_is_not_waited_for(samba: SambaServer, document: str) -> None:
    def slow(answer: Answer) -> None:
        if answer.command == CREATE and not answer.status:
            answer.body = said(16 * MIB, answer.body)
        if answer.command == READ:
            answer.status, answer.body = 0, data_of(b"x")

    with rewritten(samba, slow) as store, comes_back():
        store.read_snapshot(document)


def test_a_document_that_is_read_in_short_pieces_is_whole(samba: SambaServer) -> None:
    data = bytes(range(251)) * 40_000
    (samba.root / "a.json").write_bytes(data)

    def short(answer: Answer) -> None:
        if answer.command == READ and not answer.status and len(answer.body) > 16 + 1000:
            answer.body = data_of(answer.body[16 : len(answer.body) // 2])

    with rewritten(samba, short, timeout=30) as store:
        assert store.read_snapshot("a.json").data == data


def test_more_data_than_was_asked_for_is_refused(samba: SambaServer, document: str) -> None:
    def generous(answer: Answer) -> None:
        if answer.command == READ and length_asked(answer) >= 64 << 10:  # a document, not what opening a store tries
            answer.status, answer.body = 0, data_of(bytes(length_asked(answer) + 1))

    with rewritten(samba, generous) as store, comes_back():
        store.read_snapshot(document)


def test_a_server_that_takes_its_time_over_each_piece_of_a_document_is_not_waited_for(samba: SambaServer) -> None:
    def slow(answer: Answer) -> None:
        if answer.command == NEGOTIATE:
            answer.body = answer.body[:36] + struct.pack("<I", 65536) + answer.body[40:]  # MaxWriteSize
        if answer.command == WRITE:
            time.sleep(0.1)

    with rewritten(samba, slow) as store, comes_back():
        store.atomic_write("a.json", bytes(8 * MIB))


# Folders


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(lambda store: store.lock("folder/a.json", timeout=0), id="a single try for the lock"),
        pytest.param(lambda store: store.lock("folder/a.json", timeout=0.5), id="the lock"),
        pytest.param(lambda store: store.atomic_write("folder/a.json", b"1"), id="a write"),
        pytest.param(lambda store: store.update("folder/a.json", lambda _: b"1", timeout=0.5), id="an update"),
    ],
)
def test_a_folder_that_is_missing_however_often_it_is_made_is_given_up(
    samba: SambaServer, operation: Callable[[Store], object]
) -> None:
    def missing(answer: Answer) -> None:
        if answer.command == CREATE and "a.json".encode("utf-16-le") in answer.asked:
            answer.status, answer.body = 0xC000003A, struct.pack("<HBBIB", 9, 0, 0, 0, 0)  # OBJECT_PATH_NOT_FOUND

    with rewritten(samba, missing, timeout=30) as store:
        began = time.monotonic()
        with pytest.raises((LockTimeout, BackendUnavailable, InvalidKey)):
            operation(store)
        assert time.monotonic() - began < LATEST


# Lists


def test_a_list_without_end_is_given_up(samba: SambaServer) -> None:
    number = 0

    def endless(answer: Answer) -> None:
        nonlocal number
        if answer.command == QUERY_DIRECTORY:
            number += 1
            answer.status = 0
            answer.body = entries_of(*(entry(f"{number}-{each}.json") for each in range(500)), entry("z", last=True))

    with rewritten(samba, endless) as store, comes_back(memory=256 * MIB):
        store.list_keys()
    with rewritten(samba, endless) as store, comes_back(memory=256 * MIB):
        store.list_leftovers()


def test_folders_in_folders_without_end_are_given_up(samba: SambaServer) -> None:
    def folders(answer: Answer) -> None:
        if answer.command == CREATE and answer.status:
            answer.status, answer.body = 0, struct.pack("<H", 89) + bytes(62) + b"\x01" * 16 + bytes(8)
        elif answer.command == QUERY_DIRECTORY and answer.status != 0x80000006:
            answer.status = 0
            answer.body = entries_of(*(entry(each, 0x10) for each in "abcdefgh"), entry("i", 0x10, last=True))

    with rewritten(samba, folders) as store, comes_back(memory=256 * MIB):
        store.list_keys()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(entries_of(*[entry("n" * 500, following=68)] * 300, entry("z", last=True)), id="overlapping"),
        pytest.param(entries_of(entry("a.json", following=0xFFFFFFF0)), id="far away"),
        pytest.param(entries_of(*[entry("n" * 500)] * 300, entry("z", last=True)), id="longer than asked for"),
    ],
)
def test_a_list_that_makes_no_sense_is_given_up(samba: SambaServer, body: bytes) -> None:
    def forged(answer: Answer) -> None:
        if answer.command == QUERY_DIRECTORY:
            answer.status, answer.body = 0, body
        if answer.command == NEGOTIATE:
            answer.body = answer.body[:28] + struct.pack("<I", 65536) + answer.body[32:]  # MaxTransactSize

    with rewritten(samba, forged) as store, comes_back():
        store.list_keys()


# Limits


@pytest.mark.parametrize(
    ("name", "at", "size"),
    [
        *[("MaxTransactSize", 28, size) for size in (0, 1, 4095)],
        *[("MaxReadSize", 32, size) for size in (0, 1, 65535)],
        *[("MaxWriteSize", 36, size) for size in (0, 1, 65535)],
    ],
)
def test_a_limit_that_is_too_low_to_work_with_is_refused_by_name(
    samba: SambaServer, name: str, at: int, size: int
) -> None:
    def low(answer: Answer) -> None:
        if answer.command == NEGOTIATE:
            answer.body = answer.body[:at] + struct.pack("<I", size) + answer.body[at + 4 :]

    began = time.monotonic()
    with pytest.raises(NotSupported, match=f"{name} {size}"), rewritten(samba, low):
        pass
    assert time.monotonic() - began < LATEST


def test_the_least_that_the_protocol_asks_for_is_enough(samba: SambaServer) -> None:
    def least(answer: Answer) -> None:
        if answer.command == NEGOTIATE:
            answer.body = answer.body[:28] + struct.pack("<III", 65536, 65536, 65536) + answer.body[40:]

    with rewritten(samba, least) as store:
        store.atomic_write("a.json", bytes(MIB))
        assert len(store.read_snapshot("a.json")) == MIB


# Memory


@pytest.mark.parametrize("encrypt", [None, True])
def test_a_large_document_is_read_in_less_than_twice_its_size(samba: SambaServer, encrypt: bool | None) -> None:
    size = 32 * MIB
    (samba.root / "large.bin").write_bytes(bytes(size))
    with open_store(samba.url(), password=samba.password, encrypt=encrypt) as store:
        for _ in range(2):  # the size is not known at first
            tracemalloc.start()
            try:
                assert len(store.read_snapshot("large.bin")) == size
                assert tracemalloc.get_traced_memory()[1] < 2 * size
            finally:
                tracemalloc.stop()
