"""Nothing is left behind: after any operation, well or badly ended, there are documents and locks and nothing else."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

import gc
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from exlab_store.clients.work import write_sealed
from exlab_store.errors import InvalidKey, StoreError
from exlab_store.keys import lock_key
from exlab_store.testing.conformance.clientele import KEY, Clientele
from exlab_store.testing.conformance.errors import failures
from exlab_store.testing.conformance.running import together
from exlab_store.testing.conformance.work import BODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness, Oracle

__all__ = ["Leftovers"]

_DESCRIPTORS = "/dev/fd"


def _visit(store: Store) -> None:
    """Does once what makes what is there to stay: the document, its lock, the storage's own files."""
    store.atomic_write(KEY, b"1")
    store.read_snapshot(KEY)
    if store.guarantees.lock_scope != "none":
        store.lock(KEY).release()


class Leftovers(Clientele):
    """What is physically there, by the harness's ``raw_list`` or, without it, by the backend's own listing."""

    def test_writes_leave_the_document_and_nothing_else(self, store: Store, other: Store, oracle: Oracle) -> None:
        _visit(store)
        before = oracle.names()
        for number in range(10):
            store.atomic_write(KEY, str(number).encode())
            other.atomic_write(KEY, str(number).encode())
        assert oracle.names() == before

    def test_the_first_write_leaves_the_document_and_nothing_else(self, store: Store, oracle: Oracle) -> None:
        before = oracle.names()
        store.atomic_write(KEY, b"1")
        new = {name for name in oracle.names() - before if KEY.rpartition("/")[2] in name}
        assert new <= {KEY, lock_key(KEY)}

    def test_a_deletion_leaves_nothing_of_the_document(self, store: Store, oracle: Oracle) -> None:
        if not store.guarantees.deletes:
            return
        key = "folder/deleted.json"
        _visit(store)
        store.atomic_write(key, b"1")
        store.delete(key)
        before = oracle.names()
        store.atomic_write(key, b"2")
        store.delete(key)
        assert oracle.names() == before
        assert not [name for name in before if "deleted.json" in name and name != lock_key(key)]

    def test_work_leaves_no_descriptor_open(self, store: Store, other: Store) -> None:
        def work() -> None:
            _visit(store)
            store.read_snapshot(KEY)
            for _, call in failures(store, other):
                with suppress(StoreError):
                    call()

        if not os.path.isdir(_DESCRIPTORS):
            return
        work()
        before = len(os.listdir(_DESCRIPTORS))
        for _ in range(10):
            work()
        gc.collect()
        assert len(os.listdir(_DESCRIPTORS)) < before + 10

    def test_refused_operations_leave_nothing(self, store: Store, other: Store, oracle: Oracle) -> None:
        _visit(store)
        before = oracle.names()
        for kind, call in failures(store, other):
            with pytest.raises(kind):
                call()
        for key in ("folder", "folder/document.json/deeper"):
            try:
                store.atomic_write(key, b"1")
            except InvalidKey:
                assert oracle.names() == before
            else:
                before = oracle.names()

    def test_writers_at_the_same_time_leave_nothing(
        self, harness: Harness, open_client: Callable[[], Store], oracle: Oracle
    ) -> None:
        clients = [open_client() for _ in range(3)]
        for client in clients:
            _visit(client)
        before = oracle.names()
        together([partial(write_sealed, client, KEY, "writer", 0, 5, BODY) for client in clients], harness.patience)
        assert oracle.names() == before

    def test_a_failed_wait_for_a_lock_leaves_nothing(self, store: Store, other: Store, oracle: Oracle) -> None:
        _visit(store)
        before = oracle.names()
        if store.guarantees.lock_scope == "none":
            return
        with store.lock(KEY):
            held = oracle.names()
            for _ in range(3):
                with pytest.raises(StoreError):
                    other.lock(KEY, timeout=0)
            assert oracle.names() == held
        assert oracle.names() == before
