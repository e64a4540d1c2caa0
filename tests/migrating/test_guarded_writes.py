"""Writing and deleting on a condition under a lock that is held, on backends of every strength."""

from __future__ import annotations

import msgspec
import pytest
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory

from exlab_store import (
    ABSENT,
    ANY,
    DocumentExists,
    Guarantees,
    LockLost,
    NotSupported,
    Store,
    Version,
    VersionConflict,
    open_store,
)
from exlab_store.migrating.guarded import delete_under, write_under


def _weaker(**weaker: object) -> Store:
    backend = MemoryBackend(Memory())
    backend.guarantees = msgspec.structs.replace(MemoryBackend.guarantees, **weaker)
    return open_store(backend=backend)


STORES = {
    "fenced": {},
    "not fenced": {"fenced": False},
    "not fenced, conditions by lock": {"fenced": False, "conditional_write": "locked"},
    "not fenced, no conditions": {"fenced": False, "conditional_write": "none"},
}


@pytest.mark.parametrize("weaker", STORES.values(), ids=STORES)
def test_under_the_lock_a_condition_holds_on_every_backend(weaker: dict[str, object]) -> None:
    store = _weaker(**weaker)
    with store.lock("a.json") as held:
        first = write_under(store, "a.json", b"1", ABSENT, held)
        with pytest.raises(DocumentExists):
            write_under(store, "a.json", b"2", ABSENT, held)
        second = write_under(store, "a.json", b"2", first, held)
        for late in (first, Version("made up")):
            with pytest.raises(VersionConflict):
                write_under(store, "a.json", b"3", late, held)
            with pytest.raises(VersionConflict):
                delete_under(store, "a.json", late, held)
        assert store.read_snapshot("a.json").data == b"2"
        delete_under(store, "a.json", second, held)
        write_under(store, "a.json", b"3", ANY, held)
        delete_under(store, "a.json", ANY, held)
        assert store.list_keys() == []


@pytest.mark.parametrize("weaker", STORES.values(), ids=STORES)
def test_under_a_lost_lock_nothing_is_written(weaker: dict[str, object]) -> None:
    store = _weaker(**weaker)
    held = store.lock("a.json")
    held.release()
    for expect in (ABSENT, ANY):
        with pytest.raises(LockLost):
            write_under(store, "a.json", b"1", expect, held)
    assert store.list_keys() == []


def test_without_locks_and_conditions_a_condition_is_not_pretended() -> None:
    store = _weaker(
        **{name: getattr(Guarantees(), name) for name in ("conditional_write", "lock_scope", "lock_release", "fenced")}
    )
    with pytest.raises(NotSupported):
        write_under(store, "a.json", b"1", ABSENT, None)
    assert write_under(store, "a.json", b"1", ANY, None)
