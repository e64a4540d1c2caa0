"""Writes on a condition: what does not meet it is refused, and a refused write changes nothing."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from exlab_store.clients.work import create, swap_up
from exlab_store.errors import DocumentExists, NotSupported, VersionConflict
from exlab_store.model import ABSENT, ANY, Version
from exlab_store.testing.conformance.clientele import (
    KEY,
    Clientele,
    as_claimed,
    between_processes,
    start_processes,
)
from exlab_store.testing.conformance.running import together

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.guarantees import Guarantees
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness, Oracle

__all__ = ["ExpectationRaces", "Expectations"]

_NEVER_WRITTEN = Version("0" * 64)
_CONTENDERS = 4


def _conditional(guarantees: Guarantees) -> bool:
    return guarantees.conditional_write != "none"


class Expectations(Clientele):
    """`ANY`, `ABSENT` and a version, as ``expect=`` of a write."""

    def test_any_writes_whatever_is_there(self, store: Store, other: Store) -> None:
        store.atomic_write(KEY, b"1", expect=ANY)
        other.atomic_write(KEY, b"2", expect=ANY)
        assert store.read_snapshot(KEY).data == b"2"

    def test_absent_makes_a_document_that_does_not_exist(self, store: Store, guarantees: Guarantees) -> None:
        with as_claimed(_conditional(guarantees)):
            version = store.atomic_write(KEY, b"1", expect=ABSENT)
            assert store.read_snapshot(KEY).data == b"1"
            assert store.read_snapshot(KEY).version == version

    def test_absent_refuses_a_document_that_exists_and_leaves_it(
        self, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        version = store.atomic_write(KEY, b"")
        with as_claimed(_conditional(guarantees)):
            with pytest.raises(DocumentExists) as caught:
                other.atomic_write(KEY, b"2", expect=ABSENT)
            assert caught.value.found in {None, version}
        assert oracle.read(KEY) == b""

    def test_the_stored_version_is_replaced(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        version = store.atomic_write(KEY, b"1")
        with as_claimed(_conditional(guarantees)):
            for number in range(5):
                version = other.atomic_write(KEY, str(number).encode(), expect=version)
                assert store.read_snapshot(KEY).version == version

    def test_the_version_of_a_snapshot_is_replaced(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        store.atomic_write(KEY, b"1")
        with as_claimed(_conditional(guarantees)):
            other.atomic_write(KEY, b"2", expect=other.read_snapshot(KEY).version)
            assert store.read_snapshot(KEY).data == b"2"

    def test_another_version_is_refused_and_the_document_left(
        self, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        old = store.atomic_write(KEY, b"old")
        new = store.atomic_write(KEY, b"new")
        with as_claimed(_conditional(guarantees)):
            with pytest.raises(VersionConflict) as caught:
                other.atomic_write(KEY, b"lost", expect=old)
            assert caught.value.expected in {None, old}
            assert caught.value.found in {None, new}
            with pytest.raises(VersionConflict):
                store.atomic_write(KEY, b"lost", expect=_NEVER_WRITTEN)
        assert oracle.read(KEY) == b"new"
        assert store.read_snapshot(KEY).version == new

    def test_a_version_refuses_a_document_that_does_not_exist_and_does_not_make_it(
        self, store: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        with as_claimed(_conditional(guarantees)), pytest.raises(VersionConflict) as caught:
            store.atomic_write(KEY, b"1", expect=_NEVER_WRITTEN)
        if _conditional(guarantees):
            assert not isinstance(caught.value, DocumentExists)
        assert oracle.read(KEY) is None

    def test_a_version_is_good_for_one_write(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        version = store.atomic_write(KEY, b"0")
        with as_claimed(_conditional(guarantees)):
            store.atomic_write(KEY, b"1", expect=version)
            with pytest.raises(VersionConflict):
                other.atomic_write(KEY, b"2", expect=version)

    def test_a_condition_that_is_not_supported_changes_nothing(
        self, store: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        version = store.atomic_write(KEY, b"1")
        if not _conditional(guarantees):
            for expect in (ABSENT, version, _NEVER_WRITTEN):
                with pytest.raises(NotSupported):
                    store.atomic_write(KEY, b"2", expect=expect)
            assert oracle.read(KEY) == b"1"


class ExpectationRaces(Clientele):
    """Among those who write on the same condition at the same time, one succeeds."""

    def test_one_of_many_threads_makes_a_document(
        self, harness: Harness, guarantees: Guarantees, open_client: Callable[[], Store], oracle: Oracle
    ) -> None:
        clients = [open_client() for _ in range(_CONTENDERS)]
        with as_claimed(_conditional(guarantees)):
            for number in range(10):
                key = f"race/{number}.json"
                made = together(
                    [partial(create, client, key, str(name).encode()) for name, client in enumerate(clients)],
                    harness.patience,
                )
                assert made.count(True) == 1
                assert oracle.read(key) == str(made.index(True)).encode()

    def test_one_of_many_threads_replaces_a_version(
        self, harness: Harness, guarantees: Guarantees, open_client: Callable[[], Store], oracle: Oracle
    ) -> None:
        clients = [open_client() for _ in range(_CONTENDERS)]
        with as_claimed(_conditional(guarantees)):
            version = clients[0].atomic_write(KEY, b"first")
            for number in range(10):
                texts = [f"{number} {name}".encode() for name in range(_CONTENDERS)]

                def replace(client: Store, data: bytes, version: Version) -> Version | None:
                    try:
                        return client.atomic_write(KEY, data, expect=version)
                    except VersionConflict:
                        return None

                results = together(
                    [partial(replace, client, data, version) for client, data in zip(clients, texts, strict=True)],
                    harness.patience,
                )
                winners = [place for place, result in enumerate(results) if result is not None]
                assert len(winners) == 1
                assert oracle.read(KEY) == texts[winners[0]]
                version = results[winners[0]] or version

    def test_threads_that_count_with_compare_and_swap_lose_nothing(
        self, harness: Harness, guarantees: Guarantees, open_client: Callable[[], Store], oracle: Oracle
    ) -> None:
        clients = [open_client() for _ in range(3)]
        with as_claimed(_conditional(guarantees)):
            swaps = [partial(swap_up, client, KEY, 0, 15, patience=harness.patience) for client in clients]
            together(swaps, 3 * harness.patience)
            assert oracle.read(KEY) == b"45"

    def test_processes_that_count_with_compare_and_swap_lose_nothing(
        self, harness: Harness, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if not between_processes(harness, guarantees):
            return
        with start_processes(harness, 3) as clients, as_claimed(_conditional(guarantees)):
            for client in clients:
                client.send("swap_up", key=KEY, times=15)
            for client in clients:
                client.answer(3 * harness.patience)
            assert oracle.read(KEY) == b"45"

    def test_one_of_many_processes_makes_a_document(
        self, harness: Harness, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if not between_processes(harness, guarantees):
            return
        with start_processes(harness, 3) as clients, as_claimed(_conditional(guarantees)):
            for number in range(10):
                for name, client in enumerate(clients):
                    client.send("create", key=f"race/{number}.json", data=str(name).encode())
                made = [client.answer() for client in clients]
                assert made.count(True) == 1
                assert oracle.read(f"race/{number}.json") == str(made.index(True)).encode()
