"""`migrate` between stores of every kind: all of it arrives, and nothing is lost whatever happens on the way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory
from exlab_store_posix import PosixBackend
from sites import contents, documents, fill, fill_directory

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    Expectation,
    Guarantees,
    HeldLock,
    InvalidKey,
    Leftover,
    LocationError,
    LockTimeout,
    NotSupported,
    Snapshot,
    StorageFull,
    Store,
    StoreError,
    Version,
    WriteOutcomeUnknown,
    hookimpl,
    open_store,
    version_of,
)
from exlab_store.migrating import Migration, migrate
from exlab_store.migrating.parallel import in_parallel
from exlab_store.testing.faults import Fault, FaultPlan, after, before


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "disk", create=True) as store:
        yield store


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "other", create=True) as store:
        yield store


def outcomes(migration: Migration) -> dict[str, str]:
    return {document.key: document.outcome for document in migration.documents}


def faulty(*faults: Fault, memory: Memory | None = None) -> tuple[Store, FaultPlan]:
    plan = FaultPlan(*faults)
    return open_store(backend=MemoryBackend(memory or Memory()), observers=[plan], retry=None), plan


class Meanwhile:
    """Does something right after the first writes of a store, or always."""

    def __init__(self, act: Callable[[str], None], times: int = 1) -> None:
        self._act = act
        self._times = times
        self._mutex = threading.Lock()

    @hookimpl(wrapper=True)
    def atomic_write(self, key: str) -> Generator[None, Version, Version]:
        version = yield
        with self._mutex:
            due = self._times > 0 and not key.startswith(".exlab-store-migration-")
            self._times -= due
        if due:
            self._act(key)
        return version


# All of it arrives


@pytest.mark.parametrize(("first", "second"), [("memory", "disk"), ("disk", "memory"), ("disk", "other_disk")])
def test_all_documents_arrive_with_the_same_versions(first: str, second: str, request: pytest.FixtureRequest) -> None:
    source, target = request.getfixturevalue(first), request.getfixturevalue(second)
    held = fill(source, documents(40))
    migration = migrate(source, target)
    assert (migration.complete, migration.problems, migration.deleted) == (True, (), 0)
    assert contents(target) == contents(source) == held
    assert {each.key: each.version for each in migration.documents} == {
        key: version_of(data) for key, data in held.items()
    }
    assert migration.copied_bytes == sum(map(len, held.values()))


def test_what_is_no_document_stays(disk: Store, other_disk: Store, tmp_path: Path) -> None:
    fill(disk, {"a.json": b"1"})
    disk.lock("a.json").release()
    for name in ("b.json.tmp.12.0123456789abcdef", "c?.json", "d.lock"):
        (tmp_path / "disk" / name).write_bytes(b"x")
    assert migrate(disk, other_disk, delete_source=True).complete
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["a.json", "a.json.lock"]
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == [
        "a.json.lock",
        "b.json.tmp.12.0123456789abcdef",
        "c?.json",
        "d.lock",
    ]


def test_a_second_time_nothing_is_written(disk: Store, other_disk: Store, tmp_path: Path) -> None:
    fill(disk, documents(10))
    migrate(disk, other_disk)
    before = {path: path.stat().st_ino for path in (tmp_path / "other").rglob("*.json")}
    again = migrate(disk, other_disk)
    assert set(outcomes(again).values()) == {"present"}
    assert (again.complete, again.copied_bytes) == (True, 0)
    assert {path: path.stat().st_ino for path in (tmp_path / "other").rglob("*.json")} == before


def test_an_empty_store_is_moved_at_once(memory: Store, disk: Store) -> None:
    assert migrate(memory, disk, delete_source=True).complete


def test_a_dry_run_writes_nothing_and_tells_what_would_be(disk: Store, other_disk: Store, tmp_path: Path) -> None:
    fill_directory(tmp_path / "disk", {"new.json": b"1", "same.json": b"2", "other.json": b"3"})
    tried = migrate(disk, other_disk, dry_run=True, delete_source=True)
    assert (tried.complete, tried.dry_run, tried.deleted) == (True, True, 0)
    assert not (tmp_path / "other").exists()
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["new.json", "other.json", "same.json"]
    fill_directory(tmp_path / "other", {"same.json": b"2", "other.json": b"another"})
    tried = migrate(disk, other_disk, dry_run=True)
    assert outcomes(tried) == {"new.json": "copied", "other.json": "conflict", "same.json": "present"}
    assert outcomes(migrate(disk, other_disk, dry_run=True, overwrite=True))["other.json"] == "overwritten"
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["other.json", "same.json"]


def test_progress_is_told_from_this_thread(memory: Store, disk: Store) -> None:
    fill(memory, documents(20))
    told: list[tuple[str, int, int]] = []

    def tell(phase: str, done: int, total: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append((phase, done, total))

    migrate(memory, disk, delete_source=True, progress=tell)
    assert told == [(phase, done, 20) for phase in ("copying", "checking", "deleting") for done in range(21)]


# What is in the way


def test_another_document_of_the_target_is_a_conflict_and_stays(disk: Store, memory: Store) -> None:
    fill(disk, {"a.json": b"ours", "b.json": b"2"})
    fill(memory, {"a.json": b"theirs"})
    migration = migrate(disk, memory, delete_source=True)
    assert outcomes(migration) == {"a.json": "conflict", "b.json": "copied"}
    assert not migration.complete
    assert contents(memory) == {"a.json": b"theirs", "b.json": b"2"}
    assert contents(disk) == {"a.json": b"ours", "b.json": b"2"}
    migration = migrate(disk, memory, overwrite=True)
    assert outcomes(migration) == {"a.json": "overwritten", "b.json": "present"}
    assert contents(memory) == contents(disk)


@pytest.mark.parametrize("where", ["source", "target"])
def test_a_document_that_is_locked_is_left_out_and_says_by_whom(where: str) -> None:
    source, target = open_store("memory://"), open_store("memory://")
    fill(source, {"a.json": b"1", "b.json": b"2"})
    store = source if where == "source" else target
    with store.lock("a.json", purpose="a long re-sync"):
        migration = migrate(source, target, lock_timeout=0.05, delete_source=True)
    assert outcomes(migration) == {"a.json": "locked", "b.json": "copied"}
    (locked,) = migration.problems
    assert locked.holder is not None
    assert locked.holder.purpose == "a long re-sync"
    assert contents(source) == {"a.json": b"1", "b.json": b"2"}
    assert migrate(source, target).complete


class Showing(MemoryBackend):
    """Memory that shows its locks."""

    @hookimpl
    def list_leftovers(self, prefix: str) -> list[Leftover]:
        return [
            Leftover(name=f"{place}.lock", kind="lock", size=1, held=True, owner=owner)
            for place, owner in list(self._memory.locks.items())
        ]

    @hookimpl
    def remove_leftover(self, name: str) -> None:
        raise NotSupported("locks stay")


@pytest.mark.parametrize("dry_run", [False, True])
def test_while_a_lock_is_held_in_the_source_nothing_is_copied(memory: Store, dry_run: bool) -> None:
    source = open_store(backend=Showing(Memory()))
    fill(source, {"a.json": b"1", "b.json": b"2"})
    with source.lock("not-yet-written.json", purpose="a first write"), pytest.raises(LockTimeout) as caught:
        migrate(source, memory, lock_timeout=0.1, dry_run=dry_run)
    assert caught.value.holder is not None
    assert caught.value.holder.purpose == "a first write"
    assert "nothing was copied" in str(caught.value)
    assert contents(memory) == {}


def test_a_lock_that_another_holder_has_in_a_directory_is_seen(tmp_path: Path, disk: Store, memory: Store) -> None:
    fill(disk, {"a.json": b"1", "b.json": b"2"})
    with (
        open_store(tmp_path / "disk") as other,
        other.lock("b.json", purpose="a long re-sync"),
        pytest.raises(LockTimeout) as caught,
    ):
        migrate(disk, memory, lock_timeout=0)
    assert caught.value.holder is not None
    assert caught.value.holder.purpose == "a long re-sync"
    assert contents(memory) == {}
    assert migrate(disk, memory).complete


def test_a_lock_that_is_soon_released_is_waited_for(memory: Store) -> None:
    source = open_store(backend=Showing(Memory()))
    fill(source, {"a.json": b"1"})
    lock = source.lock("a.json")
    threading.Timer(0.1, lock.release).start()
    assert migrate(source, memory, lock_timeout=30).complete


def test_a_source_that_may_only_be_read_is_copied_and_said_to_be_unlocked(memory: Store) -> None:
    shared = Memory()
    fill(open_store(backend=MemoryBackend(shared)), {"a.json": b"1", "b.json": b"2"})
    denied = AccessDenied("the share is read-only")
    source, _ = faulty(before("lock", times=None, raises=denied), memory=shared)
    migration = migrate(source, memory)
    assert (migration.complete, migration.unlocked) == (True, 2)
    assert contents(memory) == contents(source)
    refused = migrate(source, memory, delete_source=True)
    assert {each.code for each in refused.problems} == {"access_denied"}
    assert refused.deleted == 0
    assert len(contents(source)) == 2


# Two places


def test_one_place_and_places_within_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    fill_directory(tmp_path / "a", {"x.json": b"1", "b/y.json": b"2"})
    a, b, link, again = (open_store(tmp_path / path) for path in ("a", "a/b", "link", "a"))
    for source, target, message in [
        (a, a, "the same place"),
        (a, again, "the same place"),
        (a, link, "the same place"),
        (a, b, "the target is inside the source"),
        (link, b, "the target is inside the source"),
        (b, a, "the source is inside the target"),
    ]:
        for dry_run in (False, True):
            with pytest.raises(LocationError, match=message):
                migrate(source, target, delete_source=True, dry_run=dry_run)
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_one_place_is_recognised_where_the_locations_do_not_tell(tmp_path: Path) -> None:
    fill_directory(tmp_path, {"x.json": b"1", "b/y.json": b"2"})
    one, other, inner = (open_store(backend=PosixBackend(str(path))) for path in (tmp_path, tmp_path, tmp_path / "b"))
    with pytest.raises(LocationError, match="the same place"):
        migrate(one, other, delete_source=True)
    with pytest.raises(LocationError, match="the target is inside the source"):
        migrate(one, inner, delete_source=True)
    with pytest.raises(LocationError, match="the source is inside the target"):
        migrate(inner, one, delete_source=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["b", "x.json", "y.json"]


def test_a_folder_with_a_name_that_begins_alike_is_another_place(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    fill_directory(tmp_path / "lab", {"x.json": b"1"})
    with open_store(tmp_path / "lab") as source, open_store(tmp_path / "lab2", create=True) as target:
        assert migrate(source, target).complete


# The source changes


def test_what_changes_while_it_is_copied_is_copied_again(memory: Store) -> None:
    held = fill(memory, documents(30))

    def change(key: str) -> None:
        memory.atomic_write(key, b"changed without the lock")
        memory.atomic_write("new.json", b"added")

    target = open_store("memory://", observers=[Meanwhile(change, times=5)])
    migration = migrate(memory, target)
    assert migration.complete, migration.problems
    assert contents(target) == contents(memory)
    assert sum(data == b"changed without the lock" for data in contents(target).values()) == 5
    assert len(migration.documents) == len(held) + 1
    assert set(outcomes(migration).values()) == {"copied"}


def test_what_keeps_changing_is_reported_and_nothing_is_deleted(memory: Store) -> None:
    fill(memory, {"a.json": b"0", "still.json": b"1"})
    counted = iter(range(1, 100))

    def change(key: str) -> None:
        if key == "a.json":
            memory.atomic_write(key, b"%d" % next(counted))

    target = open_store("memory://", observers=[Meanwhile(change, times=100)])
    migration = migrate(memory, target, delete_source=True)
    assert outcomes(migration) == {"a.json": "changed", "still.json": "copied"}
    assert next(counted) == 4  # it was tried three times
    assert len(contents(memory)) == 2


def test_what_is_deleted_in_the_source_meanwhile_is_reported(memory: Store) -> None:
    fill(memory, {"a.json": b"0", "b.json": b"1"})

    def delete(_key: str) -> None:
        memory.delete("a.json")

    target = open_store("memory://", observers=[Meanwhile(delete)])
    migration = migrate(memory, target, jobs=1)
    assert outcomes(migration) == {"a.json": "changed", "b.json": "copied"}


def test_what_the_target_does_not_keep_is_noticed(memory: Store) -> None:
    fill(memory, {"a.json": b"0", "b.json": b"1"})
    shared = Memory()

    def spoil(key: str) -> None:
        shared.documents[key] = b"rotten"

    target = open_store(backend=MemoryBackend(shared), observers=[Meanwhile(spoil)])
    migration = migrate(memory, target, jobs=1, delete_source=True)
    assert outcomes(migration) == {"a.json": "changed", "b.json": "copied"}
    assert len(contents(memory)) == 2


# The source is deleted


def test_the_source_is_deleted_when_all_of_it_is_in_the_target(disk: Store, other_disk: Store) -> None:
    held = fill(disk, documents(20))
    migration = migrate(disk, other_disk, delete_source=True)
    assert (migration.complete, migration.deleted) == (True, 20)
    assert (contents(disk), contents(other_disk)) == ({}, held)


def test_what_was_in_the_target_is_made_durable_before_the_source_is_deleted(disk: Store, tmp_path: Path) -> None:
    held = fill(disk, documents(10))
    fill_directory(tmp_path / "other", held)
    plan = FaultPlan()
    with open_store(tmp_path / "other", observers=[plan]) as target:
        migration = migrate(disk, target, delete_source=True)
        written = plan.calls("atomic_write")
    assert set(outcomes(migration).values()) == {"present"}
    assert written == 1 + len(held)  # one is the mark


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
@pytest.mark.parametrize("durable", [True, False])
def test_a_link_to_the_source_is_no_document_of_the_target(disk: Store, tmp_path: Path, durable: bool) -> None:
    held = fill(disk, {"a.json": b"1", "folder/b.json": b"2"})
    for key in held:
        link = tmp_path / "other" / key
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "disk" / key)
    backend = PosixBackend(str(tmp_path / "other"))
    backend.guarantees = msgspec.structs.replace(backend.guarantees, durable=durable)  # as tmpfs, or a mounted share
    target = open_store(backend=backend)
    assert migrate(disk, target, delete_source=True).complete
    assert (contents(disk), contents(target)) == ({}, held)


def test_what_goes_from_the_target_with_the_source_is_put_back_and_the_rest_is_kept(tmp_path: Path) -> None:
    class Unlocked(PosixBackend):
        """As a share whose server, or whose mount, keeps locks apart, or has none."""

        def __init__(self, root: str) -> None:
            super().__init__(root)
            self.guarantees = Guarantees(atomic_replace=True, lists=True, deletes=True)

        @hookimpl
        def list_keys(self, prefix: str) -> list[str]:
            return [key.replace("linked", "folder") for key in super().list_keys(prefix)]

    held = {f"folder/{number}.json": b"%d" % number for number in range(20)}
    fill_directory(tmp_path / "old", held | {"own.json": b"own"})
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "linked").mkdir()
    fill_directory(tmp_path / "new" / "linked", {key.removeprefix("folder/"): b"" for key in held})
    (tmp_path / "new" / "folder").symlink_to(tmp_path / "old" / "folder")
    source, target = (
        open_store(backend=Unlocked(str(tmp_path / "old"))),
        open_store(backend=Unlocked(str(tmp_path / "new"))),
    )
    migration = migrate(source, target, delete_source=True, jobs=2)
    assert not migration.complete
    assert {document.reason for document in migration.problems} == {
        "deleted in the source, it was gone from the target too, and was put back"
    }
    assert migration.deleted <= 1  # own.json, which the target really has
    assert held.items() <= contents(source).items()
    assert target.read_snapshot("own.json").data == b"own"


def test_a_document_that_changes_at_the_last_moment_is_not_deleted(memory: Store) -> None:
    shared = Memory()

    class LastMoment:
        @hookimpl(wrapper=True)
        def lock(self, key: str, owner: Any) -> Generator[None, HeldLock, HeldLock]:
            held = yield
            if phase[-1] == "deleting" and key == "b.json":
                shared.documents[key] = b"new"
            return held

    phase = [""]
    source = open_store(backend=MemoryBackend(shared), observers=[LastMoment()])
    fill(source, {"a.json": b"1", "b.json": b"2", "c.json": b"3"})
    migration = migrate(source, memory, delete_source=True, progress=lambda now, *_: phase.append(now))
    assert outcomes(migration) == {"a.json": "copied", "b.json": "changed", "c.json": "copied"}
    assert (migration.deleted, migration.complete) == (2, False)
    assert contents(source) == {"b.json": b"new"}


# Failures on the way


@pytest.mark.parametrize("error", [StorageFull("the disk is full"), BackendUnavailable("the server is gone")])
def test_a_target_that_is_full_or_gone_ends_it_early_and_the_next_run_goes_on(error: StoreError, disk: Store) -> None:
    held = fill(disk, documents(60))
    shared = Memory()
    target, plan = faulty(before("atomic_write", call=12, times=None, raises=error), memory=shared)
    migration = migrate(disk, target, delete_source=True)
    assert type(migration.stopped_by) is type(error)
    assert (migration.complete, migration.deleted) == (False, 0)
    assert plan.calls("atomic_write") <= 12 + 8  # those under way meet it too, and no others are begun
    there = dict(shared.documents)
    assert len(there) == 10  # one was the mark
    assert there.items() <= held.items()
    again = migrate(disk, open_store(backend=MemoryBackend(shared)))
    assert (again.complete, again.count("present"), again.count("copied")) == (True, 10, 50)
    assert shared.documents == held


def test_a_source_that_goes_away_ends_it_early(memory: Store) -> None:
    shared = Memory()
    fill(open_store(backend=MemoryBackend(shared)), documents(40))
    source, _ = faulty(before("read_snapshot", call=10, times=None), memory=shared)
    migration = migrate(source, memory)
    assert isinstance(migration.stopped_by, BackendUnavailable)
    assert contents(memory).items() <= shared.documents.items()


def test_a_write_of_unknown_outcome_is_made_certain(memory: Store) -> None:
    fill(memory, documents(10))
    unknown = WriteOutcomeUnknown("the answer was lost", intended=None)
    happened, _ = faulty(after("atomic_write", call=3, times=2, raises=unknown))
    assert migrate(memory, happened, jobs=1).count("copied") == 9
    did_not, _ = faulty(before("atomic_write", call=3, raises=unknown))
    assert migrate(memory, did_not, jobs=1).complete
    assert contents(did_not) == contents(memory)
    once, _ = faulty(after("atomic_write", call=3, raises=unknown))
    assert migrate(memory, once, jobs=1).complete


def test_a_document_that_the_target_refuses_does_not_hold_up_the_others(disk: Store, memory: Store) -> None:
    held = fill(disk, {"a/b.json": b"1", "c.json": b"2"})
    fill(memory, {"a": b"a document where the source has a folder"})
    migration = migrate(disk, memory, delete_source=True)
    assert outcomes(migration) == {"a/b.json": "failed", "c.json": "copied"}
    assert migration.problems[0].code == "invalid_key"
    assert contents(disk) == held


def test_an_interruption_leaves_whole_documents_and_no_lock_or_thread(disk: Store, other_disk: Store) -> None:
    held = fill(disk, documents(60))
    threads = set(threading.enumerate())

    def interrupt(phase: str, done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(disk, other_disk, progress=interrupt)
    assert set(threading.enumerate()) <= threads
    there = contents(other_disk)
    assert 20 <= len(there) < 60
    assert there.items() <= held.items()
    for store in (disk, other_disk):
        for key in held:
            store.lock(key, timeout=0).release()
    assert migrate(disk, other_disk, delete_source=True).complete
    assert contents(other_disk) == held


def test_an_interruption_while_the_source_is_deleted_loses_nothing(disk: Store, other_disk: Store) -> None:
    held = fill(disk, documents(40))

    def interrupt(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("deleting", 10):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(disk, other_disk, delete_source=True, progress=interrupt)
    assert 0 < len(contents(disk)) < 40
    assert contents(other_disk) == held
    assert migrate(disk, other_disk, delete_source=True).complete
    assert (contents(disk), contents(other_disk)) == ({}, held)


# Modest backends


class Shelf:
    """Whole documents, and nothing else."""

    guarantees = Guarantees(atomic_replace=True)

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}

    def close(self) -> None: ...

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        try:
            return Snapshot(self.documents[key])
        except KeyError:
            raise DocumentNotFound("there is no such document") from None

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        if len(key) > 100:
            raise InvalidKey("the shelf takes names of up to 100 characters", hint="Choose a shorter one.")
        self.documents[key] = data
        return version_of(data)

    @hookimpl
    def lock(self, key: str, owner: Any, timeout: float, cancelled: Any) -> HeldLock:
        raise NotSupported("documents on the shelf are shared without locks")


def test_a_target_without_locks_lists_conditions_and_deletions_will_do(disk: Store) -> None:
    held = fill(disk, {"a.json": b"1", "b.json": b"2", "c.json": b"3"})
    shelf = Shelf()
    shelf.documents |= {"a.json": b"1", "b.json": b"other"}
    target = open_store(backend=shelf)
    assert outcomes(migrate(disk, target)) == {"a.json": "present", "b.json": "conflict", "c.json": "copied"}
    assert migrate(disk, target, overwrite=True, delete_source=True).complete
    assert shelf.documents == held


def test_a_source_without_locks_and_conditions_can_be_left() -> None:
    class Listed(Shelf):
        guarantees = Guarantees(atomic_replace=True, lists=True, deletes=True)

        @hookimpl
        def list_keys(self, prefix: str) -> list[str]:
            return list(self.documents)

        @hookimpl
        def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
            del self.documents[key]

    old, new = Listed(), Listed()
    fill(open_store(backend=old), {"a.json": b"1", "b.json": b"2"})
    migration = migrate(open_store(backend=old), open_store(backend=new), delete_source=True)
    assert (migration.deleted, migration.unlocked) == (2, 2)
    assert (old.documents, new.documents) == ({}, {"a.json": b"1", "b.json": b"2"})


def test_a_key_that_the_target_refuses_is_reported_with_its_reason(disk: Store) -> None:
    fill(disk, documents(8))
    migration = migrate(disk, open_store(backend=Shelf()))
    (refused,) = migration.problems
    assert (refused.outcome, refused.code) == ("failed", "invalid_key")
    assert "up to 100 characters" in (refused.reason or "")
    assert migration.count("copied") == 7


def test_a_source_that_cannot_list_or_delete_is_refused_at_once(memory: Store) -> None:
    class Kept(MemoryBackend):
        guarantees = msgspec.structs.replace(MemoryBackend.guarantees, deletes=False)

    with pytest.raises(NotSupported, match="does not list"):
        migrate(open_store(backend=Shelf()), memory)
    with pytest.raises(NotSupported, match="does not delete"):
        migrate(open_store(backend=Kept(Memory())), memory, delete_source=True)


class Unfenced(MemoryBackend):
    """As a network mount: locks, and conditions that the core keeps, but no fence."""

    guarantees = msgspec.structs.replace(MemoryBackend.guarantees, conditional_write="locked", fenced=False)


def test_stores_that_do_not_fence_are_moved_all_the_same() -> None:
    source, target = open_store(backend=Unfenced(Memory())), open_store(backend=Unfenced(Memory()))
    held = fill(source, documents(10))
    fill(target, {"empty.json": b"other"})
    assert migrate(source, target, overwrite=True, delete_source=True).deleted == 10
    assert (contents(source), contents(target)) == ({}, held)


class CaseBlind(MemoryBackend):
    """Takes upper and lower case for the same, and keeps the spelling of the first, as servers of Windows do."""

    def _spelt(self, key: str) -> str:
        return next((known for known in self._memory.documents if known.lower() == key.lower()), key)

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        return super().read_snapshot(self._spelt(key))

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        return super().atomic_write(self._spelt(key), data, expect, None)


@pytest.mark.parametrize("same", [True, False])
def test_two_names_that_are_one_in_the_target_are_a_conflict(same: bool) -> None:
    source, target = open_store("memory://"), open_store(backend=CaseBlind(Memory()))
    fill(source, {"a.json": b"1", "A.json": b"1" if same else b"2", "b.json": b"3"})
    for overwrite in (False, True):
        migration = migrate(source, target, delete_source=True, overwrite=overwrite)
        assert {key for key, outcome in outcomes(migration).items() if outcome == "conflict"} & {"a.json", "A.json"}
        assert outcomes(migration)["b.json"] in {"copied", "present"}
        assert not migration.complete
        assert len(contents(source)) == 3


# Several at once


def test_no_more_documents_at_once_than_were_asked_for(memory: Store) -> None:
    fill(memory, documents(30))
    inside, most, mutex = [0], [0], threading.Lock()

    class Counting:
        @hookimpl(wrapper=True)
        def atomic_write(self) -> Generator[None, Version, Version]:
            with mutex:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.002)
            try:
                return (yield)
            finally:
                with mutex:
                    inside[0] -= 1

    assert migrate(memory, open_store("memory://", observers=[Counting()]), jobs=3).complete
    assert 2 <= most[0] <= 3


def test_only_a_few_are_taken_ahead() -> None:
    taken = iter(range(1000))
    results = in_parallel(lambda number: number, taken, 4, threading.Event())
    next(results)
    assert next(taken) <= 20
    results.close()
    with suppress(StopIteration):
        next(results)


def test_a_number_of_jobs_below_one_is_refused(memory: Store, disk: Store) -> None:
    with pytest.raises(ValueError, match="jobs"):
        migrate(memory, disk, jobs=0)
