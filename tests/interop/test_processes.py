"""Several processes on one document: nothing torn, nothing lost."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import random
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import pytest

from exlab_store import DocumentNotFound, open_store
from exlab_store.documents import EquipmentCacheWriter, EquipmentJson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Event
    from pathlib import Path

pytestmark = pytest.mark.one_interpreter

_SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(8, mp_context=_SPAWN) as executor:
        yield executor


def _sealed(writer: int, number: int) -> bytes:
    body = f"{writer} {number} ".encode() + random.Random(number).randbytes(random.Random(writer).randrange(10, 9000))
    return hashlib.sha256(body).digest() + body


def _is_whole(data: bytes) -> bool:
    return hashlib.sha256(data[32:]).digest() == data[:32]


def _write_with_pid(root: str, pid: int, writer: int, times: int) -> int:
    os.getpid = lambda: pid  # two hosts, or two containers, do have the same one
    with open_store(root) as store:
        for number in range(times):
            store.atomic_write("shared.json", _sealed(writer, number))
    return times


def _read_until(root: str, stop: Event) -> tuple[int, int]:
    reads = torn = 0
    with open_store(root) as store:
        while not stop.is_set():
            try:
                data = store.read_snapshot("shared.json").data
            except DocumentNotFound:
                continue
            reads += 1
            torn += not _is_whole(data)
    return reads, torn


def test_two_processes_with_the_same_pid_write_one_document_a_thousand_times_each_under_readers(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    with _SPAWN.Manager() as manager:
        stop = manager.Event()
        readers = [pool.submit(_read_until, str(tmp_path), stop) for _ in range(2)]
        writers = [pool.submit(_write_with_pid, str(tmp_path), 4711, writer, 1000) for writer in (1, 2)]
        written = [writer.result() for writer in writers]
        stop.set()
        results = [reader.result() for reader in readers]
    assert written == [1000, 1000]
    assert [torn for _, torn in results] == [0, 0]
    assert all(reads > 100 for reads, _ in results)
    assert os.listdir(tmp_path) == ["shared.json"]


def _increment(root: str, times: int) -> None:
    def more(current: bytes | None) -> bytes:
        return str(int(current or b"0") + 1).encode()

    with open_store(root) as store:
        for _ in range(times):
            store.update("counter.json", more)


def test_eight_processes_with_two_hundred_increments_each_count_to_sixteen_hundred(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    for done in [pool.submit(_increment, str(tmp_path), 200) for _ in range(8)]:
        done.result()
    assert (tmp_path / "counter.json").read_bytes() == b"1600"


def _compare_and_swap(root: str, times: int) -> None:
    from exlab_store import ABSENT, VersionConflict

    with open_store(root) as store:
        done = 0
        while done < times:
            try:
                snapshot = store.read_snapshot("counter.json")
                number, expect = int(snapshot.data), snapshot.version
            except DocumentNotFound:
                number, expect = 0, ABSENT
            try:
                store.atomic_write("counter.json", str(number + 1).encode(), expect=expect)
            except VersionConflict:
                continue
            done += 1


def test_four_processes_that_compare_and_swap_lose_no_increment(tmp_path: Path, pool: ProcessPoolExecutor) -> None:
    for done in [pool.submit(_compare_and_swap, str(tmp_path), 50) for _ in range(4)]:
        done.result()
    assert (tmp_path / "counter.json").read_bytes() == b"200"


def _rewrite_with_new_fields(path: str, writer: int, times: int) -> None:
    """What a program of a newer minor version does: rewrite the document and add a field of its own."""

    def with_field(current: bytes | None, name: str) -> bytes:
        document = msgspec.json.decode(current or b"{}")
        document[name] = writer
        return msgspec.json.encode(document)

    payload = EquipmentJson(id="E", label=str(writer), configured_local_root="/d", configured_nas_root="//n")
    folder, _, name = path.rpartition("/")

    async def rewrite() -> None:
        cache = EquipmentCacheWriter()
        with open_store(folder) as store:
            for number in range(times):
                await cache.write_equipment(path, payload)
                store.update(name, lambda current, n=number: with_field(current, f"x{writer}_{n}"))

    asyncio.run(rewrite())


def test_rewrites_by_eight_processes_that_each_add_unknown_fields_lose_none_of_them(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    path = tmp_path / "equipment.json"
    for done in [pool.submit(_rewrite_with_new_fields, str(path), writer, 25) for writer in range(8)]:
        done.result()
    document = msgspec.json.decode(path.read_bytes())
    expected = {f"x{writer}_{number}" for writer in range(8) for number in range(25)}
    assert expected <= document.keys()
    assert len(document) == 7 + len(expected)
