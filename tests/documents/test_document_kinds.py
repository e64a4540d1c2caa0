"""The verbs of a kind of documents: create, write, read many, and an update that tells absent from corrupt."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from typed_kinds import FROZEN, MUTABLE, Frozen, MoreFrozen, MoreMutable, Mutable, counted, counted_or_new

from exlab_store import DocumentExists, DocumentNotFound, StoreError, open_store
from exlab_store.documents import (
    DocumentInvalid,
    DocumentKind,
    SchemaMajorMismatchError,
    SchemaVersionMissing,
    VersionedDocument,
)

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store, StorePath


@pytest.fixture
def document(store: Store) -> StorePath:
    return store / "run-17" / "counts.json"


def test_a_document_is_created_once(document: StorePath) -> None:
    assert FROZEN.create(document, Frozen(count=1)) == Frozen(count=1)
    with pytest.raises(DocumentExists) as caught:
        FROZEN.create(document, Frozen(count=2))
    assert caught.value.key == document.key
    assert FROZEN.read(document) == Frozen(count=1)


def test_a_corrupt_document_is_not_created_over(document: StorePath) -> None:
    document.atomic_write(b"{")
    with pytest.raises(DocumentExists):
        FROZEN.create(document, Frozen())
    assert document.read_snapshot().data == b"{"


def test_what_cannot_be_read_is_not_created(document: StorePath) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        FROZEN.create(document, Frozen(count="many"))  # type: ignore[arg-type]
    assert caught.value.key == document.key
    with pytest.raises(DocumentNotFound):
        document.read_snapshot()


def test_a_coroutine_creates_once_as_well(document: StorePath) -> None:
    async def main() -> None:
        assert await FROZEN.acreate(document, Frozen(count=1)) == Frozen(count=1)
        with pytest.raises(DocumentExists):
            await FROZEN.acreate(document, Frozen(count=2))

    anyio.run(main)


RACERS = 50


def reserve(directory: str, racer: int) -> str | None:
    """Makes a run's folder, if nobody has made it."""
    with open_store(directory) as store:
        for number in range(RACERS):
            folder = f"run-{number}"
            try:
                FROZEN.create(store / folder / "run.json", Frozen(count=racer))
            except DocumentExists:
                continue
            return folder
    return None


def test_of_fifty_that_reserve_a_run_s_folder_each_has_one_of_its_own(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(RACERS) as racers:
        folders = list(racers.map(lambda racer: reserve(str(tmp_path), racer), range(RACERS)))
    assert sorted(folders) == sorted(f"run-{number}" for number in range(RACERS))
    with open_store(tmp_path) as store:
        assert [FROZEN.read(store / f"{folder}/run.json").count for folder in folders] == list(range(RACERS))


def create_the_one(directory: str, racers: list[int]) -> list[int]:
    """Those who have made the document."""
    made: list[int] = []
    with open_store(directory) as store:
        for racer in racers:
            try:
                FROZEN.create(store / "run.json", Frozen(count=racer))
            except DocumentExists:
                continue
            made.append(racer)
    return made


def test_of_fifty_that_create_one_document_in_several_processes_one_does(tmp_path: Path) -> None:
    tasks = [list(range(first, RACERS, 2)) for first in range(2)]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as processes:
        made = [racer for each in processes.map(create_the_one, [str(tmp_path)] * 2, tasks) for racer in each]
    with open_store(tmp_path) as store:
        assert made == [FROZEN.read(store / "run.json").count]


def test_a_write_makes_a_document(document: StorePath) -> None:
    assert FROZEN.write(document, Frozen(count=1)) == FROZEN.read(document) == Frozen(count=1)


def test_a_write_keeps_unknown_fields_and_a_newer_minor(document: StorePath) -> None:
    document.atomic_write(b'{"schema_version":"1.7","count":1,"by":"ada"}')
    assert FROZEN.write(document, Frozen(count=2)).count == 2
    assert document.read_snapshot().data == b'{"schema_version":"1.7","count":2,"by":"ada"}'


def test_a_write_refuses_another_major(document: StorePath) -> None:
    document.atomic_write(b'{"schema_version":"2.0"}')
    with pytest.raises(SchemaMajorMismatchError):
        FROZEN.write(document, Frozen())


def test_a_write_leaves_a_corrupt_document_where_it_is_told_to(document: StorePath) -> None:
    document.atomic_write(b"{")
    with pytest.raises(DocumentInvalid):
        FROZEN.write(document, Frozen(), on_corrupt="raise")
    assert document.read_snapshot().data == b"{"


def test_a_coroutine_writes_as_well(document: StorePath) -> None:
    async def main() -> None:
        assert await FROZEN.awrite(document, Frozen(count=1)) == await FROZEN.aread(document)

    anyio.run(main)


def never(_: object) -> Mutable:
    raise AssertionError("it was called")


def test_an_update_can_insist_on_a_document(document: StorePath) -> None:
    with pytest.raises(DocumentNotFound) as caught:
        MUTABLE.update(document, never, missing="raise")
    assert caught.value.key == document.key
    assert document.store.list_keys() == []


def test_an_update_can_insist_on_a_sound_document(document: StorePath) -> None:
    document.atomic_write(b'{"schema_version":"1.0","count":"many"}')
    with pytest.raises(DocumentInvalid) as caught:
        MUTABLE.update(document, never, on_corrupt="raise")
    assert caught.value.key == document.key
    assert document.store.list_keys() == [document.key]


def test_a_change_that_insists_on_a_document_gets_none_for_a_corrupt_one_alone(document: StorePath) -> None:
    document.atomic_write(b"{")
    assert MUTABLE.update(document, counted_or_new, missing="raise").count == 1
    (copy,) = (key for key in document.store.list_keys() if key != document.key)
    assert document.store.read_snapshot(copy).data == b"{"


def test_a_change_that_insists_on_a_sound_document_gets_none_for_a_missing_one_alone(document: StorePath) -> None:
    assert MUTABLE.update(document, counted_or_new, on_corrupt="raise").count == 1
    assert MUTABLE.update(document, counted, on_corrupt="raise", missing="raise").count == 2


def test_coroutines_insist_as_well(document: StorePath) -> None:
    async def main() -> None:
        with pytest.raises(DocumentNotFound):
            await MUTABLE.aupdate(document, never, missing="raise", on_corrupt="raise")
        await MUTABLE.awrite(document, Mutable(count=1))
        assert (await MUTABLE.aupdate(document, counted, missing="raise", on_corrupt="raise")).count == 2
        document.atomic_write(b"{")
        with pytest.raises(DocumentInvalid):
            await MUTABLE.aupdate(document, never, on_corrupt="raise")

    anyio.run(main)


@pytest.mark.parametrize("options", [{"missing": "ignore"}, {"on_corrupt": "ignore"}], ids=str)
def test_another_word_is_refused(document: StorePath, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ignore"):
        MUTABLE.update(document, counted_or_new, **options)


def test_a_mutable_document_may_be_changed_in_place_and_keeps_a_newer_minor(document: StorePath) -> None:
    document.atomic_write(b'{"schema_version":"1.7","count":1,"by":"ada"}')

    def change(stored: Mutable) -> Mutable:
        stored.schema_version = "1.0"
        return counted(stored)

    MUTABLE.update(document, change, on_corrupt="raise", missing="raise")
    assert document.read_snapshot().data == b'{"schema_version":"1.7","count":2,"by":"ada"}'


def test_a_kind_is_frozen_or_not_as_it_says() -> None:
    mutable, frozen = MoreMutable(), MoreFrozen()
    mutable.label = mutable.schema_version = "1.0"
    for name in ("label", "count", "schema_version"):
        with pytest.raises(AttributeError):
            setattr(frozen, name, "1.0")
    assert hash(frozen) == hash(MoreFrozen())


def keys_of(number: int) -> list[str]:
    return [f"run-{each}.json" for each in range(number)]


def with_runs(store: Store) -> Store:
    """Ten documents: the third is corrupt, the fifth of another major, the seventh missing, the last no document."""
    for number, key in enumerate(keys_of(9)):
        FROZEN.write(store / key, Frozen(count=number))
    store.atomic_write("run-2.json", b"{")
    store.atomic_write("run-4.json", b'{"schema_version":"2.0"}')
    store.delete("run-6.json")
    store.atomic_write("run-9.json/below.json", b"{}")
    return store


def of_ten(found: dict[str, Frozen | StoreError | None]) -> None:
    assert list(found) == sorted(found) == keys_of(10)
    documents = {key: value for key, value in found.items() if isinstance(value, Frozen)}
    assert [document.count for document in documents.values()] == [0, 1, 3, 5, 7, 8]
    assert found["run-6.json"] is None
    for key, error in [("run-2.json", DocumentInvalid), ("run-4.json", SchemaMajorMismatchError)]:
        bad = found[key]
        assert isinstance(bad, error)
        assert bad.key == key
    last = found["run-9.json"]
    assert isinstance(last, StoreError)
    assert last.key == "run-9.json"


def test_many_are_read_with_a_bad_one_as_its_error(posix: Store) -> None:
    of_ten(dict(FROZEN.read_many(with_runs(posix), keys_of(10), concurrency=1)))


def test_coroutines_read_many(posix: Store) -> None:
    async def main() -> dict[str, Frozen | StoreError | None]:
        async with aclosing(FROZEN.aread_many(with_runs(posix), keys_of(10), concurrency=1)) as found:
            return {key: value async for key, value in found}

    of_ten(dict(sorted(anyio.run(main).items())))


def test_fewer_than_one_at_a_time_is_refused_at_once(memory: Store) -> None:
    with pytest.raises(ValueError, match="concurrency"):
        FROZEN.read_many(memory, [], concurrency=0)


NO_VERSION = b'{"count":1}'


def test_a_document_without_a_version_is_invalid_and_of_another_version_at_once(document: StorePath) -> None:
    document.atomic_write(NO_VERSION)
    with pytest.raises(SchemaVersionMissing) as caught:
        FROZEN.read(document)
    error: object = caught.value
    assert isinstance(error, DocumentInvalid)
    assert isinstance(error, SchemaMajorMismatchError)
    assert (error.expected_major, error.found, error.field, error.key) == (1, "", "schema_version", document.key)
    assert "schema_version" in error.message


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"schema_version":null}', b'{"schema_version":""}'], ids=repr)
def test_whatever_else_is_no_document_is_not_one_without_a_version(data: bytes) -> None:
    with pytest.raises((DocumentInvalid, SchemaMajorMismatchError)) as caught:
        FROZEN.decode(data)
    assert not isinstance(caught.value, SchemaVersionMissing)


def test_a_document_without_a_version_is_kept_and_replaced_like_any_corrupt_one(document: StorePath) -> None:
    document.atomic_write(NO_VERSION)
    assert FROZEN.write(document, Frozen(count=2)).count == 2
    (copy,) = (key for key in document.store.list_keys() if key != document.key)
    assert document.store.read_snapshot(copy).data == NO_VERSION
    assert json.loads(document.read_snapshot().data) == {"schema_version": "1.0", "count": 2}
    assert DocumentKind(Frozen, "1.0").read(document) == Frozen(count=2)


def test_a_value_of_a_class_with_the_same_name_is_told_apart(document: StorePath) -> None:
    class Frozen(VersionedDocument, frozen=True, kw_only=True):
        schema_version: str = "1.0"

    with pytest.raises(TypeError, match=r"must be of type typed_kinds\.Frozen, not test_document_kinds\..*Frozen"):
        FROZEN.create(document, Frozen())  # type: ignore[arg-type]
