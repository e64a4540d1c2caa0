"""The parts of a backend: its hooks, its guarantees, and its end."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from exlab_store import hookspecs
from exlab_store.errors import NotSupported
from exlab_store.guarantees import Guarantees
from exlab_store.hookspecs import OPTIONAL_HOOKS, REQUIRED_HOOKS
from exlab_store.model import ANY, HeldLock, Snapshot
from exlab_store.opening.stores import open_store
from exlab_store.store import Store
from exlab_store.testing.conformance.clientele import KEY, Clientele, owner, watched_fixture
from exlab_store.testing.conformance.watching import WatchedHooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.hooks.calls import Backend
    from exlab_store.testing.conformance.harness import Harness
    from exlab_store.testing.conformance.watching import Watch

__all__ = ["Registration", "Unclaimed"]


def _never() -> bool:
    return False


def _hook(backend: Backend, name: str) -> Any:
    """The implementation of a hook, or None; a method that is not marked is none."""
    method = getattr(backend, name, None)
    return method if hasattr(method, f"{hookspecs.PROJECT}_impl") else None


class Registration(Clientele):
    """The contract of the hooks, at the backend itself."""

    @watched_fixture
    def backend(self, open_backend: Callable[[], Backend]) -> Backend:
        """The backend, without a store around it."""
        return open_backend()

    def test_the_backend_is_accepted(self, open_backend: Callable[[], Backend]) -> None:
        with open_store(backend=open_backend(), require=Guarantees.at_least()) as store:
            assert isinstance(store.guarantees, Guarantees)

    def test_the_guarantees_are_of_their_type_and_do_not_contradict_each_other(self, backend: Backend) -> None:
        claims = backend.guarantees
        assert isinstance(claims, Guarantees)
        assert claims.flaw() is None
        assert backend.guarantees == claims
        if claims.lock_scope == "none":
            assert not claims.fenced, "there is no lock that could be lost"
            assert claims.conditional_write != "locked", "there is no lock that the core could take"
            assert claims.fresh != "locked", "there is no lock under which a read could see the last write"

    def test_every_client_has_the_same_guarantees(
        self, harness: Harness, backend: Backend, guarantees: Guarantees, open_backend: Callable[[], Backend]
    ) -> None:
        assert open_backend().guarantees == backend.guarantees
        if harness.location is not None:
            with open_store(harness.location, **harness.options) as store:
                assert store.guarantees == guarantees

    @pytest.mark.parametrize("name", REQUIRED_HOOKS)
    def test_every_required_hook_is_there(self, backend: Backend, name: str) -> None:
        assert _hook(backend, name) is not None

    @pytest.mark.parametrize("name", [*REQUIRED_HOOKS, *OPTIONAL_HOOKS])
    def test_no_parameter_of_a_hook_has_a_default(self, backend: Backend, name: str) -> None:
        hook = _hook(backend, name)
        if hook is not None:
            parameters = inspect.signature(hook).parameters.values()
            defaults = [each.name for each in parameters if each.default is not inspect.Parameter.empty]
            assert defaults == [], "pluggy never passes a parameter that has a default"

    @pytest.mark.parametrize("name", [*REQUIRED_HOOKS, *OPTIONAL_HOOKS])
    def test_every_hook_takes_the_parameters_of_its_spec(self, backend: Backend, name: str) -> None:
        hook = _hook(backend, name)
        if hook is not None:
            assert set(inspect.signature(hook).parameters) == set(
                inspect.signature(getattr(hookspecs, name)).parameters
            )

    def test_no_hook_returns_none_but_delete(self, watch: Watch, backend: Backend) -> None:
        def result_of(name: str, **arguments: object) -> Any:
            with watch.call(name):
                return _hook(backend, name)(**arguments)

        assert type(result_of("atomic_write", key=KEY, data=b"1", expect=ANY, lock=None)) is str
        assert type(result_of("read_snapshot", key=KEY)) is Snapshot
        if backend.guarantees.lists:
            assert list(result_of("list_keys", prefix="")) == [KEY]
        if backend.guarantees.lock_scope != "none":
            held = result_of("lock", key=KEY, owner=owner(), timeout=0.0, cancelled=_never)
            assert isinstance(held, HeldLock)
            with watch.call("release of a lock"):
                held.release()
        if backend.guarantees.deletes:
            assert result_of("delete", key=KEY, expect=ANY, lock=None) is None

    def test_closing_twice_does_nothing_more(self, watch: Watch, open_backend: Callable[[], Backend]) -> None:
        backend = open_backend()
        for _ in range(2):
            with watch.call("close"):
                backend.close()

    def test_closing_after_work_twice_does_nothing_more(
        self, watch: Watch, open_backend: Callable[[], Backend]
    ) -> None:
        backend = open_backend()
        store = Store(WatchedHooks(backend, watch), None)
        store.atomic_write(KEY, b"1")
        store.read_snapshot(KEY)
        store.close()
        store.close()
        backend.close()

    def test_closing_one_client_leaves_the_others_open(self, store: Store, open_client: Callable[[], Store]) -> None:
        closing = open_client()
        closing.atomic_write(KEY, b"1")
        store.atomic_write(KEY, b"2")
        closing.close()
        store.atomic_write(KEY, b"3")
        assert store.read_snapshot(KEY).data == b"3"


class Unclaimed(Clientele):
    """What is not claimed says `NotSupported`: it neither works in silence nor does nothing."""

    @watched_fixture
    def backend(self, open_backend: Callable[[], Backend]) -> Backend:
        """The backend, without a store around it."""
        return open_backend()

    def test_a_listing_that_is_not_claimed_is_not_supported(self, backend: Backend, store: Store) -> None:
        if backend.guarantees.lists:
            return
        with pytest.raises(NotSupported):
            store.list_keys()
        if _hook(backend, "list_keys") is not None:
            with pytest.raises(NotSupported):
                list(_hook(backend, "list_keys")(prefix=""))

    def test_a_deletion_that_is_not_claimed_is_not_supported(self, backend: Backend, store: Store) -> None:
        if backend.guarantees.deletes:
            return
        store.atomic_write(KEY, b"1")
        with pytest.raises(NotSupported):
            store.delete(KEY)
        if _hook(backend, "delete") is not None:
            with pytest.raises(NotSupported):
                _hook(backend, "delete")(key=KEY, expect=ANY, lock=None)
        assert store.read_snapshot(KEY).data == b"1"

    def test_a_lock_that_is_not_claimed_is_not_supported(self, backend: Backend, store: Store) -> None:
        if backend.guarantees.lock_scope != "none":
            return
        with pytest.raises(NotSupported):
            store.lock(KEY, timeout=0)
        with pytest.raises(NotSupported):
            store.update(KEY, lambda _: b"1", timeout=0)
        with pytest.raises(NotSupported):
            _hook(backend, "lock")(key=KEY, owner=owner(), timeout=0.0, cancelled=_never)

    def test_a_fenced_write_that_is_not_claimed_is_not_supported(self, store: Store) -> None:
        if store.guarantees.fenced or store.guarantees.lock_scope == "none":
            return
        store.atomic_write(KEY, b"1")
        with store.lock(KEY) as held, pytest.raises(NotSupported):
            store.atomic_write(KEY, b"2", lock=held)
        assert store.read_snapshot(KEY).data == b"1"
