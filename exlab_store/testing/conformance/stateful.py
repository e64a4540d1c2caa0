"""Two clients do what Hypothesis thinks of, and a dictionary knows what must come of it."""
# ruff: noqa: D102, S101  # the names of the tests and of the rules are their statements

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from exlab_store.errors import DocumentExists, DocumentNotFound, VersionConflict
from exlab_store.model import ABSENT, Version
from exlab_store.testing.conformance.clientele import Clientele, as_claimed, assert_locked

if TYPE_CHECKING:
    from exlab_store.locks.held import StoreLock
    from exlab_store.store import Store

__all__ = ["Sequences", "StoreMachine"]

_NAMES = st.sampled_from(["a.json", "b.json", "folder/a.json", "folder/deeper/c.json"])
_DATA = st.binary(max_size=64)
_CLIENT = st.integers(0, 1)

# The same examples in every run: a backend that passes today does not fail tomorrow on another machine.
_SETTINGS = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
)


class StoreMachine(RuleBasedStateMachine):
    """Any sequence of operations by two clients.

    Args:
        clients: Two stores that are open on the same storage.
        folder: A folder that is this example's own.
    """

    def __init__(self, clients: tuple[Store, Store], folder: str) -> None:
        super().__init__()
        self._clients = clients
        self._claims = clients[0].guarantees
        self._folder = folder
        self._documents: dict[str, bytes] = {}
        self._versions: dict[bytes, Version] = {}
        self._locks: dict[str, tuple[int, StoreLock]] = {}

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _wrote(self, name: str, data: bytes, version: Version) -> None:
        assert self._versions.setdefault(data, version) == version
        self._documents[name] = data

    def _locked_by_another(self, name: str) -> bool:
        """Whether a write on a condition would wait for a lock that this machine holds."""
        return self._claims.conditional_write == "locked" and name in self._locks

    @rule(client=_CLIENT, name=_NAMES, data=_DATA)
    def writes(self, client: int, name: str, data: bytes) -> None:
        self._wrote(name, data, self._clients[client].atomic_write(self._key(name), data))

    @rule(client=_CLIENT, name=_NAMES)
    def reads(self, client: int, name: str) -> None:
        if name in self._documents:
            snapshot = self._clients[client].read_snapshot(self._key(name))
            assert snapshot.data == self._documents[name]
            assert self._versions.setdefault(snapshot.data, snapshot.version) == snapshot.version
        else:
            with pytest.raises(DocumentNotFound):
                self._clients[client].read_snapshot(self._key(name))

    @rule(client=_CLIENT, name=_NAMES, data=_DATA)
    def writes_if_absent(self, client: int, name: str, data: bytes) -> None:
        if self._locked_by_another(name):
            return
        with as_claimed(self._claims.conditional_write != "none"):
            if name in self._documents:
                with pytest.raises(DocumentExists):
                    self._clients[client].atomic_write(self._key(name), data, expect=ABSENT)
            else:
                self._wrote(name, data, self._clients[client].atomic_write(self._key(name), data, expect=ABSENT))

    @rule(client=_CLIENT, name=_NAMES, data=_DATA, stale=st.booleans())
    def writes_if_unchanged(self, client: int, name: str, data: bytes, stale: bool) -> None:
        if self._locked_by_another(name):
            return
        known = self._documents.get(name)
        expect = Version("0" * 64) if stale or known is None else self._versions[known]
        with as_claimed(self._claims.conditional_write != "none"):
            if stale or known is None:
                with pytest.raises(VersionConflict):
                    self._clients[client].atomic_write(self._key(name), data, expect=expect)
            else:
                self._wrote(name, data, self._clients[client].atomic_write(self._key(name), data, expect=expect))

    @rule(client=_CLIENT, name=_NAMES, data=_DATA)
    def updates(self, client: int, name: str, data: bytes) -> None:
        if name in self._locks:
            return
        known = self._documents.get(name)

        def change(current: bytes | None) -> bytes:
            assert current == known
            return data

        with as_claimed(self._claims.lock_scope != "none"):
            self._wrote(name, data, self._clients[client].update(self._key(name), change))

    @rule(client=_CLIENT, name=_NAMES)
    def locks(self, client: int, name: str) -> None:
        with as_claimed(self._claims.lock_scope != "none"):
            if name in self._locks:
                assert_locked(self._clients[client], self._key(name))
            else:
                held = self._clients[client].lock(self._key(name), timeout=0, holder=object())
                self._locks[name] = client, held

    @rule(name=_NAMES)
    def releases(self, name: str) -> None:
        if name in self._locks:
            _, held = self._locks.pop(name)
            held.ensure_held()
            held.release()
            held.release()

    @rule(name=_NAMES, data=_DATA)
    def writes_under_the_lock(self, name: str, data: bytes) -> None:
        if name in self._locks:
            client, held = self._locks[name]
            with as_claimed(self._claims.fenced):
                self._wrote(name, data, self._clients[client].atomic_write(self._key(name), data, lock=held))

    @rule(client=_CLIENT, name=_NAMES)
    def deletes(self, client: int, name: str) -> None:
        with as_claimed(self._claims.deletes):
            if name in self._documents:
                self._clients[client].delete(self._key(name))
                del self._documents[name]
            else:
                with pytest.raises(DocumentNotFound):
                    self._clients[client].delete(self._key(name))

    @rule(client=_CLIENT, name=_NAMES, stale=st.booleans())
    def deletes_if_unchanged(self, client: int, name: str, stale: bool) -> None:
        known = self._documents.get(name)
        if self._locked_by_another(name) or known is None:
            return
        with as_claimed(self._claims.deletes and self._claims.conditional_write != "none"):
            if stale:
                with pytest.raises(VersionConflict):
                    self._clients[client].delete(self._key(name), expect=Version("0" * 64))
            else:
                self._clients[client].delete(self._key(name), expect=self._versions[known])
                del self._documents[name]

    @rule(client=_CLIENT, prefix=st.sampled_from(["", "folder", "folder/deeper", "nothing"]))
    def lists(self, client: int, prefix: str) -> None:
        folder = f"{self._folder}/{prefix}" if prefix else self._folder
        with as_claimed(self._claims.lists):
            expected = sorted(self._key(name) for name in self._documents if self._key(name).startswith(folder + "/"))
            assert self._clients[client].list_keys(folder) == expected

    @invariant()
    def locks_are_held(self) -> None:
        for _, held in self._locks.values():
            held.ensure_held()

    def teardown(self) -> None:
        for _, held in self._locks.values():
            held.release()
        for name, data in self._documents.items():
            for client in self._clients:
                assert client.read_snapshot(self._key(name)).data == data


class Sequences(Clientele):
    """Sequences of operations against the model."""

    def test_any_sequence_of_operations_does_what_a_dictionary_does(self, store: Store, other: Store) -> None:
        numbers = itertools.count()

        class Example(StoreMachine):
            def __init__(self) -> None:
                super().__init__((store, other), f"example {next(numbers)}")

        run_state_machine_as_test(Example, settings=_SETTINGS)
