"""A watch tells of each document at least the last state, and of nothing that did not happen."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from exlab_store.changes import Change
from exlab_store.errors import BackendUnavailable, DocumentNotFound, NotSupported
from exlab_store.keys import is_key
from exlab_store.model import version_of
from exlab_store.testing.conformance.clientele import KEY, Clientele, as_claimed, watched_fixture
from exlab_store.testing.conformance.running import Started, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.calls import BackendHooks
    from exlab_store.model import Version
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness, Oracle
    from exlab_store.watching.stream import ChangeStream

__all__ = ["Watching"]

_INTERVAL = 0.02  # seconds between two looks: a site has more patience
_WRITERS, _ROUNDS, _CUTS = 3, 20, 3


def _never() -> bool:
    return False


def _told(stream: ChangeStream, enough: Callable[[list[Change]], object]) -> list[Change]:
    """The changes up to the one that makes them enough; the stream's own timeout ends a wait in vain."""
    found: list[Change] = []
    while not enough(found):
        change = next(stream, None)
        assert change is not None, f"nothing more is told, and all that was told is {found}"
        found.append(change)
    return found


def _unheard(_outage: object) -> None:
    pass


def _last(changes: Iterable[Change]) -> dict[str, Version | None]:
    return {change.key: change.version for change in changes}


def _there(changes: Iterable[Change]) -> dict[str, Version | None]:
    return {key: version for key, version in _last(changes).items() if version is not None and key != "end"}


class Watching(Clientele):
    """`Store.watch`, and the hook ``watch_changes``."""

    @watched_fixture
    def begin(self, harness: Harness, store: Store) -> Callable[..., ChangeStream]:
        """Begins a watch that ends by itself when nothing is told for too long."""
        return partial(store.watch, interval=_INTERVAL, timeout=harness.patience)

    def test_a_watch_tells_of_a_document_that_another_client_makes_replaces_and_deletes(
        self, begin: Callable[..., ChangeStream], other: Store, guarantees: Guarantees
    ) -> None:
        with as_claimed(guarantees.watch != "none"), begin() as stream:
            for data in (b"1", b"22"):
                version = other.atomic_write(KEY, data)
                assert _told(stream, len) == [Change(KEY, "written", version)]
            if guarantees.deletes:
                other.delete(KEY)
                assert _told(stream, len) == [Change(KEY, "deleted")]

    def test_a_watch_tells_of_documents_in_folders_that_are_made_meanwhile(
        self, begin: Callable[..., ChangeStream], other: Store, guarantees: Guarantees
    ) -> None:
        if guarantees.watch == "none":
            return
        keys = ["new/1", "new/deep/er/2", "new/deep/er/3", "other/new/4"]
        with begin() as stream:
            for key in keys:
                other.atomic_write(key, b"1")
            assert sorted(change.key for change in _told(stream, lambda found: len(found) == len(keys))) == keys

    def test_what_is_told_can_be_read(
        self, begin: Callable[..., ChangeStream], open_client: Callable[[], Store], guarantees: Guarantees
    ) -> None:
        if guarantees.watch == "none":
            return
        writer, reader = open_client(), open_client()
        with begin() as stream:
            for number in range(_ROUNDS):
                version = writer.atomic_write(KEY, str(number).encode())
                assert _last(_told(stream, len)) == {KEY: version}
                assert reader.read_snapshot(KEY).version == version

    def test_only_documents_below_the_prefix_that_match_the_pattern_are_told(
        self, begin: Callable[..., ChangeStream], other: Store, guarantees: Guarantees
    ) -> None:
        if guarantees.watch == "none":
            return
        with begin("run", pattern="**/state.json") as stream:
            for key in ["state.json", "runs/state.json", "run/picture", "run/1/other", "run/1/state.json"]:
                other.atomic_write(key, b"1")
            assert [change.key for change in _told(stream, len)] == ["run/1/state.json"]

    def test_a_watch_without_knowledge_tells_of_every_document_that_is_there(
        self, begin: Callable[..., ChangeStream], other: Store, guarantees: Guarantees
    ) -> None:
        if guarantees.watch == "none":
            return
        versions = {key: other.atomic_write(key, key.encode()) for key in ("a", "b/c", "b/d/e")}
        with begin(since={}) as stream:
            assert _last(_told(stream, lambda found: len(found) == len(versions))) == versions

    def test_a_watch_tells_what_has_changed_since_a_listing(
        self, begin: Callable[..., ChangeStream], other: Store, guarantees: Guarantees
    ) -> None:
        if guarantees.watch == "none":
            return
        since = {key: other.atomic_write(key, b"1") for key in ("changed", "gone", "same")}
        expected = {Change("changed", "written", other.atomic_write("changed", b"2"))}
        expected.add(Change("new", "written", other.atomic_write("new", b"1")))
        if guarantees.deletes:
            other.delete("gone")
            expected.add(Change("gone", "deleted"))
        with begin(since=since) as stream:
            assert set(_told(stream, lambda found: len(found) == len(expected))) == expected

    def test_a_watch_tells_of_no_lock_and_of_no_temporary_file(
        self, harness: Harness, begin: Callable[..., ChangeStream], other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if guarantees.watch == "none":
            return
        with begin() as stream:
            for name in ("a.json.lock", "a.json.tmp.4711.0123456789abcdef", "folder/.lock"):
                oracle.plant(name)
            version = version_of(b"")
            for number in range(5):
                if guarantees.lock_scope != "none":
                    version = other.update(KEY, lambda _, number=number: str(number).encode())  # type: ignore[misc]
                else:
                    version = other.atomic_write(KEY, str(number).encode())
            changes = _told(stream, lambda found: _last(found) == {KEY: version})
        assert {change.key for change in changes} == {KEY}
        del harness

    def test_nothing_is_told_while_nothing_changes(
        self, begin: Callable[..., ChangeStream], other: Store, guarantees: Guarantees
    ) -> None:
        if guarantees.watch == "none":
            return
        other.atomic_write(KEY, b"1")
        with begin(timeout=0.3) as stream:
            other.read_snapshot(KEY)
            if guarantees.lock_scope != "none":
                other.lock(KEY).release()
            assert list(stream) == []

    def test_of_many_changes_by_several_writers_the_last_of_each_document_is_told_and_none_is_invented(
        self,
        harness: Harness,
        begin: Callable[..., ChangeStream],
        open_client: Callable[[], Store],
        guarantees: Guarantees,
    ) -> None:
        if guarantees.watch == "none":
            return
        written: dict[str, list[Version | None]] = {}

        def write(client: Store, name: str) -> None:
            for number in range(_ROUNDS):
                key = f"folder {number % 4}/{name}"
                written.setdefault(key, []).append(client.atomic_write(key, f"{name} {number}".encode()))
                if guarantees.deletes and number % 8 == 7:
                    client.delete(key)
                    written[key].append(None)

        def run(clients: list[Store]) -> None:
            calls = [partial(write, client, str(number)) for number, client in enumerate(clients)]
            together(calls, 4 * harness.patience)
            clients[0].atomic_write("end", b"")

        with begin(timeout=4 * harness.patience) as stream:
            clients = [open_client() for _ in range(_WRITERS)]
            writers = Started(lambda: run(clients))
            told = _told(stream, lambda found: any(change.key == "end" for change in found))
            writers.result(harness.patience)
            stored = {key: versions[-1] for key, versions in written.items() if versions[-1] is not None}
            while _there(told) != stored:
                told += _told(stream, len)
        if guarantees.atomic_replace:  # elsewhere a read may be of half a document, and that is told
            assert [change for change in told if change.version not in written.get(change.key, [change.version])] == []
        for key in written:
            of_key = [change for change in told if change.key == key]
            assert all(before != after for before, after in itertools.pairwise(of_key))

    def test_what_another_program_writes_is_told(
        self, begin: Callable[..., ChangeStream], guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if guarantees.watch == "none":
            return
        with begin() as stream:
            oracle.write("folder/by another", b"whole")
            assert {change.key for change in _told(stream, len)} == {"folder/by another"}

    def test_a_watch_ends_when_it_is_closed_cancelled_or_over(
        self, harness: Harness, store: Store, begin: Callable[..., ChangeStream], guarantees: Guarantees
    ) -> None:
        if guarantees.watch == "none":
            return
        assert list(begin(timeout=0)) == []
        assert list(begin(timeout=0.1)) == []
        late = 4 * harness.patience  # what ends by then has ended by itself
        asked: list[float] = []

        def cancelled() -> bool:
            asked.append(time.monotonic())
            return len(asked) > 5

        assert Started(lambda: list(begin(cancelled=cancelled, timeout=late))).result(harness.patience) == []
        closing = begin(timeout=late)
        waiting = Started(lambda: list(closing))
        assert not waiting.ends_within(0.1)
        closing.close()
        closing.close()
        assert waiting.result(harness.patience) == []
        with_store = begin(timeout=late)
        waiting = Started(lambda: list(with_store))
        store.close()
        assert waiting.result(harness.patience) == []

    def test_changes_while_connections_are_cut_are_told(
        self, harness: Harness, begin: Callable[..., ChangeStream], other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if guarantees.watch == "none":
            return
        with begin(onerror=_unheard) as stream:
            version = other.atomic_write(KEY, b"before")
            assert _last(_told(stream, len)) == {KEY: version}
            for number in range(_CUTS):
                waiting = Started(partial(_told, stream, len))
                assert not waiting.ends_within(0.05)
                try:
                    harness.cut()
                except NotImplementedError:  # nothing lies between the client and the storage
                    other.atomic_write(KEY, f"{number}".encode())
                    waiting.result(2 * harness.patience)
                    return
                data = f"after {number}".encode()
                oracle.write(KEY, data)
                told = waiting.result(2 * harness.patience)
                while not told or told[-1].version != _stored_version(oracle, KEY):
                    told += _told(stream, len)
                assert {change.key for change in told} == {KEY}

    def test_the_source_names_documents_that_can_be_read_and_nothing_else(
        self,
        harness: Harness,
        open_hooks: Callable[[], BackendHooks],
        other: Store,
        guarantees: Guarantees,
    ) -> None:
        if guarantees.watch != "pushed":
            return
        hooks = open_hooks()
        try:
            source = hooks.watch_changes("")
        except NotSupported:
            pytest.skip("the storage cannot tell of changes at present")
        try:
            assert source.wait(0.0, _never) == []
            for number in range(5):
                data = str(number).encode()
                other.atomic_write(KEY, data)
                seen: list[str] = []
                until = time.monotonic() + harness.patience
                while _read(hooks, KEY) != data or KEY not in seen:
                    assert time.monotonic() < until, f"the change of {KEY!r} is not told; what was told is {seen}"
                    found = source.wait(0.2, _never)
                    documents = [name for name in found if name and not name.endswith("/")]
                    assert [name for name in documents if not is_key(name)] == []
                    if KEY in found or "" in found or f"{KEY.rpartition('/')[0]}/" in found:
                        seen.append(KEY)
                        assert _read(hooks, KEY) == data, "a change is told before it can be read"
            assert type(source.complete) is bool
        finally:
            source.close()
            source.close()


def _read(hooks: BackendHooks, key: str) -> bytes | None:
    """What the backend reads; None for nothing."""
    with suppress(DocumentNotFound, BackendUnavailable):
        return hooks.read_snapshot(key).data
    return None


def _stored_version(oracle: Oracle, key: str) -> Version | None:
    """The version of what is really stored."""
    data = oracle.read(key)
    return None if data is None else version_of(data)
