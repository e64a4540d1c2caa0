"""Several clients at once: nothing torn, nothing mixed up, and an order that explains what each of them saw."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from exlab_store.clients.witness import is_whole, sealed
from exlab_store.clients.work import read_sealed, write_sealed
from exlab_store.errors import DocumentNotFound
from exlab_store.model import ABSENT
from exlab_store.testing import history
from exlab_store.testing.conformance.clientele import KEY, Clientele, between_processes, start_processes
from exlab_store.testing.conformance.running import Started, together
from exlab_store.testing.conformance.work import BODY, operate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exlab_store.guarantees import Guarantees
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness, Oracle

__all__ = ["Histories", "Torn"]


class Torn(Clientele):
    """Readers see whole documents, and writers do not get into each other's way."""

    def test_readers_under_a_writer_see_no_torn_document(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        store.atomic_write(KEY, sealed("first", 0, BODY))
        writer = Started(lambda: write_sealed(store, KEY, "writer", 0, 60, BODY))
        reads = read_sealed(other, KEY, lambda: writer.ended)
        writer.result(3 * harness.patience)
        assert (reads.whole > 0, reads.missing) == (True, 0)
        if guarantees.atomic_replace:
            assert reads.torn == 0

    def test_readers_see_no_torn_document_while_it_is_made(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        if not guarantees.atomic_replace or guarantees.conditional_write == "none":
            return
        for number in range(10):
            key = f"made/{number}.json"
            maker = Started(lambda key=key: store.atomic_write(key, sealed("maker", 0, BODY), expect=ABSENT))  # type: ignore[misc]
            while not maker.ended:
                with suppress(DocumentNotFound):
                    assert is_whole(other.read_snapshot(key).data)
            maker.result(harness.patience)

    def test_readers_see_no_torn_document_of_another_process(
        self, harness: Harness, store: Store, guarantees: Guarantees
    ) -> None:
        if not between_processes(harness, guarantees):
            return
        store.atomic_write(KEY, sealed("first", 0, BODY))
        with start_processes(harness, 1) as (process,):
            process.send("write_sealed", key=KEY, client="writer", times=60)
            answer = Started(lambda: process.answer(3 * harness.patience))
            reads = read_sealed(store, KEY, lambda: answer.ended)
            assert answer.result(3 * harness.patience) == 60
        assert (reads.whole > 0, reads.missing) == (True, 0)
        if guarantees.atomic_replace:
            assert reads.torn == 0

    def test_writers_of_one_document_do_not_disturb_each_other(
        self, harness: Harness, open_client: Callable[[], Store], guarantees: Guarantees, oracle: Oracle
    ) -> None:
        clients = [open_client() for _ in range(3)]
        written = together(
            [partial(write_sealed, client, KEY, str(name), 0, 15, BODY) for name, client in enumerate(clients)],
            3 * harness.patience,
        )
        assert written == [15, 15, 15]
        if guarantees.atomic_replace:
            assert is_whole(oracle.read(KEY) or b"")

    def test_writers_on_two_hosts_with_the_same_process_id_do_not_disturb_each_other(
        self, harness: Harness, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if not between_processes(harness, guarantees):
            return
        with start_processes(harness, 2, pid=4711) as clients:
            for name, client in enumerate(clients):
                client.send("write_sealed", key=KEY, client=str(name), times=20)
            assert [client.answer(3 * harness.patience) for client in clients] == [20, 20]
        if guarantees.atomic_replace:
            assert is_whole(oracle.read(KEY) or b"")

    def test_clients_of_different_documents_do_not_disturb_each_other(
        self, harness: Harness, open_client: Callable[[], Store], oracle: Oracle
    ) -> None:
        clients = [open_client() for _ in range(4)]

        def write_and_read(client: Store, key: str) -> None:
            for number in range(10):
                client.atomic_write(key, f"{key} {number}".encode())
                assert client.read_snapshot(key).data == f"{key} {number}".encode()

        keys = [f"folder {name}/document.json" for name in range(4)]
        together(
            [partial(write_and_read, client, key) for client, key in zip(clients, keys, strict=True)],
            3 * harness.patience,
        )
        assert [oracle.read(key) for key in keys] == [f"{key} 9".encode() for key in keys]

    def test_threads_may_share_one_client(self, harness: Harness, store: Store) -> None:
        gate = threading.Barrier(4)

        def write_and_read(name: str) -> None:
            gate.wait()
            for number in range(10):
                store.atomic_write(f"{name}.json", f"{name} {number}".encode())
                assert store.read_snapshot(f"{name}.json").data == f"{name} {number}".encode()

        together([partial(write_and_read, name) for name in "abcd"], 3 * harness.patience)


_WAYS = [
    pytest.param(True, False, id="compare_and_swap"),
    pytest.param(False, True, id="locked_updates"),
    pytest.param(True, True, id="both"),
]


class Histories(Clientele):
    """What the clients saw can be explained by one operation after the other (linearizability)."""

    @pytest.mark.parametrize(("swaps", "updates"), _WAYS)
    def test_the_history_of_threads_has_an_order(
        self,
        harness: Harness,
        open_client: Callable[[], Store],
        guarantees: Guarantees,
        swaps: bool,
        updates: bool,
    ) -> None:
        swaps, updates = _offered(guarantees, swaps=swaps, updates=updates)
        clients = [open_client() for _ in range(3)]
        histories = together(
            [
                partial(operate, client, KEY, str(name), 30, swaps=swaps, updates=updates)
                for name, client in enumerate(clients)
            ],
            3 * harness.patience,
        )
        assert history.check(_claimed(guarantees, (operation for each in histories for operation in each))) is None

    @pytest.mark.parametrize(("swaps", "updates"), _WAYS)
    def test_the_history_of_processes_has_an_order(
        self, harness: Harness, guarantees: Guarantees, swaps: bool, updates: bool
    ) -> None:
        if not between_processes(harness, guarantees):
            return
        swaps, updates = _offered(guarantees, swaps=swaps, updates=updates and guarantees.lock_scope != "process")
        with start_processes(harness, 3) as clients:
            for name, client in enumerate(clients):
                client.send("operate", key=KEY, client=str(name), times=40, swaps=swaps, updates=updates)
            answers = [client.answer(3 * harness.patience) for client in clients]
        operations = [each for answer in answers for each in answer]
        assert len(operations) >= 120
        assert history.check(_claimed(guarantees, operations)) is None


def _offered(guarantees: Guarantees, *, swaps: bool, updates: bool) -> tuple[bool, bool]:
    """What of the wanted changes the backend claims; what it does not is refused, and other tests see to that."""
    return swaps and guarantees.conditional_write != "none", updates and guarantees.lock_scope != "none"


def _claimed(guarantees: Guarantees, operations: Iterable[history.Operation]) -> list[history.Operation]:
    """What must have an order: a read without the lock may be of an older document, unless that is claimed."""
    return [each for each in operations if each.kind != "read" or guarantees.fresh == "always"]
