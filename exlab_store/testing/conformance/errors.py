"""Errors say which document, where, and what to do; whatever goes wrong, nothing but a `StoreError` comes out."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

import errno
import pickle
from typing import TYPE_CHECKING

import pytest

from exlab_store.errors import (
    DocumentExists,
    DocumentNotFound,
    LockLost,
    LockTimeout,
    NotSupported,
    StoreError,
    VersionConflict,
)
from exlab_store.location import Location
from exlab_store.model import ABSENT, Version
from exlab_store.opening.stores import open_store
from exlab_store.testing.conformance.clientele import KEY, Clientele, as_claimed
from exlab_store.testing.conformance.running import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store.guarantees import Guarantees
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness

__all__ = ["Errors", "failures"]


_AT_ONCE = 10.0


def failures(store: Store, other: Store) -> Iterator[tuple[type[StoreError], Callable[[], object]]]:
    """Calls on `KEY` that fail, each with its error, on a document that exists.

    Args:
        store: A client.
        other: Another.
    """
    claims = store.guarantees
    yield DocumentNotFound, lambda: store.read_snapshot("missing.json")
    if claims.conditional_write != "none":
        yield DocumentExists, lambda: store.atomic_write(KEY, b"2", expect=ABSENT)
        yield VersionConflict, lambda: store.atomic_write(KEY, b"2", expect=Version("0" * 64))
    if claims.deletes:
        yield DocumentNotFound, lambda: store.delete("missing.json")
    if claims.lock_scope != "none":

        def lock_twice() -> object:
            with other.lock(KEY):
                return within(_AT_ONCE, lambda: store.lock(KEY, timeout=0))

        yield LockTimeout, lock_twice
    if claims.fenced:

        def write_after_release() -> object:
            with store.lock(KEY) as held:
                held.inner.release()
                return store.atomic_write(KEY, b"2", lock=held)

        yield LockLost, write_after_release


class Errors(Clientele):
    """What an error carries."""

    def test_every_error_names_its_document_and_says_what_to_do(self, store: Store, other: Store) -> None:
        store.atomic_write(KEY, b"1")
        for kind, call in failures(store, other):
            with pytest.raises(kind) as caught:
                call()
            error = caught.value
            assert error.key in {KEY, "missing.json"}
            assert error.message
            assert not error.message.endswith(".")
            assert error.key not in error.message, "the core adds the key"
            assert error.hint
            assert error.key in str(error)
            assert error.envelope()["error"]["code"] == kind.code

    def test_every_error_names_the_location_that_was_opened(self, harness: Harness) -> None:
        if harness.location is None:
            return
        shown = str(Location.parse(harness.location))
        with (
            open_store(harness.location, **harness.options) as store,
            open_store(harness.location, **harness.options) as other,
        ):
            within(harness.patience, lambda: store.atomic_write(KEY, b"1"))
            for kind, call in failures(store, other):
                with pytest.raises(kind) as caught:
                    within(harness.patience, call)
                assert caught.value.location == shown
                assert shown in str(caught.value)

    def test_a_missing_document_is_a_file_not_found(self, store: Store) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            store.read_snapshot(KEY)
        assert caught.value.errno == errno.ENOENT

    def test_errors_travel_between_processes(self, store: Store, other: Store) -> None:
        store.atomic_write(KEY, b"1")
        for kind, call in failures(store, other):
            with pytest.raises(kind) as caught:
                call()
            copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # made one line above
            assert type(copy) is type(caught.value)
            assert str(copy) == str(caught.value)

    def test_a_closed_store_says_that_it_is_closed(self, open_client: Callable[[], Store]) -> None:
        client = open_client()
        client.close()
        with pytest.raises(NotSupported, match="closed"):
            client.read_snapshot(KEY)

    def test_an_operation_after_an_error_works(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        store.atomic_write(KEY, b"1")
        for kind, call in failures(store, other):
            with pytest.raises(kind):
                call()
        store.atomic_write(KEY, b"2")
        assert other.read_snapshot(KEY).data == b"2"
        with as_claimed(guarantees.lock_scope != "none"):
            other.lock(KEY, timeout=0).release()
