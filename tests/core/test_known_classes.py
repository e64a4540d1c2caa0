"""What is remembered of a backend's class is true of the next object of it."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import pytest
from exlab_store_memory.backend import Memory, MemoryBackend

from exlab_store import DocumentNotFound, Guarantees, PluginError, Snapshot, hookimpl, open_store
from exlab_store.hooks import registering

if TYPE_CHECKING:
    from collections.abc import Generator


def backend_class(**members: Any) -> type[MemoryBackend]:
    """A class that nobody has opened a store of."""
    return types.new_class("Fresh", (MemoryBackend,), exec_body=lambda namespace: namespace.update(members))


@hookimpl
def reads_b(self: object, key: str) -> Snapshot:
    return Snapshot(b"b")


def test_the_second_store_of_a_class_is_opened_without_a_look_at_each_attribute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[str] = []
    look = registering._Manager.parse_hookimpl_opts

    def counted(self: Any, plugin: object, name: str) -> Any:
        looks.append(name)
        return look(self, plugin, name)

    monkeypatch.setattr(registering._Manager, "parse_hookimpl_opts", counted)
    cls = backend_class()
    open_store(backend=cls(Memory()))
    assert looks
    looks.clear()
    with open_store(backend=cls(Memory())) as store:
        store.update("a", lambda _: b"1")
        assert store.list_keys() == ["a"]
    assert looks == []


def test_an_object_s_own_hook_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = backend_class()
    open_store(backend=cls(Memory()))
    backend: Any = cls(Memory())
    backend.read_snapshot = types.MethodType(reads_b, backend)
    assert open_store(backend=backend).read_snapshot("a").data == b"b"


def test_a_class_that_was_changed_meanwhile_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = backend_class()
    open_store(backend=cls(Memory()))
    monkeypatch.setattr(cls, "read_snapshot", reads_b)
    assert open_store(backend=cls(Memory())).read_snapshot("a").data == b"b"


def test_a_hook_that_was_spoilt_meanwhile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = backend_class()
    open_store(backend=cls(Memory()))
    monkeypatch.setattr(cls, "lock", None)
    with pytest.raises(PluginError, match="lock"):
        open_store(backend=cls(Memory()))


def test_claims_are_those_of_the_object() -> None:
    def without_hooks(self: Any, claims: bool) -> None:
        MemoryBackend.__init__(self, Memory())
        self.guarantees = Guarantees(lists=claims, lock_scope="process")

    cls: Any = backend_class(__init__=without_hooks, list_keys=None, delete=None)
    open_store(backend=cls(claims=False))
    with pytest.raises(PluginError, match="claims lists=True"):
        open_store(backend=cls(claims=True))


def test_observers_of_a_known_backend_are_called() -> None:
    seen: list[str] = []

    class Seeing:
        @hookimpl(wrapper=True)
        def read_snapshot(self, key: str) -> Generator[None, Snapshot, Snapshot]:
            seen.append(key)
            return (yield)

    cls = backend_class()
    open_store(backend=cls(Memory()))
    with pytest.raises(DocumentNotFound):
        open_store(backend=cls(Memory()), observers=[Seeing()]).read_snapshot("a")
    assert seen == ["a"]
