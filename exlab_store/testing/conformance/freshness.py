"""Fresh reads: the write of another client is seen at once, by the reads that the backend claims it for (``fresh``)."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from exlab_store.errors import DocumentNotFound
from exlab_store.testing.conformance.clientele import KEY, Clientele, between_processes, start_processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from exlab_store.guarantees import Guarantees
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness

__all__ = ["Freshness"]

_LOCKED = 20.0


def _plainly(guarantees: Guarantees) -> bool:
    return guarantees.fresh == "always"


def _reads_of(store: Store) -> Iterator[AbstractContextManager[object]]:
    """Each way to read for which something is claimed: without the lock, and under it."""
    claims = store.guarantees
    if _plainly(claims):
        yield nullcontext()
    if claims.fresh != "none" and claims.lock_scope != "none":
        yield store.lock(KEY, timeout=_LOCKED)


class Freshness(Clientele):
    """A read that begins after a write was acknowledged sees it, or a later one."""

    def test_a_second_client_sees_a_write_at_once(self, store: Store, other: Store) -> None:
        for number in range(20):
            # Two writes in a row by each client, so that the other has read before and may have kept what it read.
            writer, reader = (store, other) if number % 4 < 2 else (other, store)
            writer.atomic_write(KEY, str(number).encode())
            for way in _reads_of(reader):
                with way:
                    assert reader.read_snapshot(KEY).data == str(number).encode()

    def test_a_second_client_sees_at_once_that_a_document_was_made(self, store: Store, other: Store) -> None:
        for way in _reads_of(other):
            with way, pytest.raises(DocumentNotFound):
                other.read_snapshot(KEY)
        store.atomic_write(KEY, b"1")
        for way in _reads_of(other):
            with way:
                assert other.read_snapshot(KEY).data == b"1"

    def test_another_process_sees_a_write_at_once_and_is_seen(
        self, harness: Harness, guarantees: Guarantees, store: Store
    ) -> None:
        if not between_processes(harness, guarantees):
            return
        with start_processes(harness, 1) as (process,):
            for number in range(8):
                data = str(number).encode()
                if number % 4 < 2:
                    store.atomic_write(KEY, data)
                    if _plainly(guarantees):
                        assert process.ask("read", key=KEY)[0] == data
                    continue
                version = process.ask("write", key=KEY, data=data)
                for way in _reads_of(store):
                    with way:
                        snapshot = store.read_snapshot(KEY)
                    assert (snapshot.data, snapshot.version) == (data, version)
