"""What is refused when a backend is registered, and what is made of what its hooks do."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from exlab_store import (
    ANY,
    DocumentNotFound,
    Guarantees,
    PluginError,
    Snapshot,
    StoreError,
    Version,
    hookimpl,
    open_store,
)

# Signatures without annotations: backends of third parties need none.
# mypy: disable-error-code="no-untyped-def"


class Sound:
    """A backend that is accepted; each test breaks one thing of it."""

    guarantees = Guarantees(atomic_replace=True)

    def close(self):
        pass

    @hookimpl
    def read_snapshot(self, key):
        return Snapshot(b"x")

    @hookimpl
    def atomic_write(self, key, data, expect, lock):
        return Version("1")

    @hookimpl
    def lock(self, key, owner, timeout, cancelled):
        raise NotImplementedError


def test_a_sound_backend_is_accepted() -> None:
    assert open_store(backend=Sound()).read_snapshot("a").data == b"x"


def test_parameters_in_another_order_are_accepted() -> None:
    class Reordered(Sound):
        @hookimpl
        def atomic_write(self, lock, expect, data, key):
            return Version(f"{key} {data!r} {expect!r} {lock!r}")

    assert open_store(backend=Reordered()).atomic_write("a", b"1") == "a b'1' ANY None"


class WithDefault(Sound):
    @hookimpl
    def atomic_write(self, key, data, expect=ANY, lock=None):
        return Version("1")


class WithoutParameter(Sound):
    @hookimpl
    def atomic_write(self, key, data, expect):
        return Version("1")


class WithForeignParameter(Sound):
    @hookimpl
    def read_snapshot(self, key, encoding):
        return Snapshot(b"x")


class Misspelt(Sound):
    @hookimpl
    def list_key(self, prefix):
        return []


class Wrapping(Sound):
    @hookimpl(wrapper=True)
    def read_snapshot(self, key):
        return (yield)


class WithoutHook:
    guarantees = Guarantees()

    def close(self):
        pass

    @hookimpl
    def read_snapshot(self, key):
        return Snapshot(b"x")


class WithoutGuarantees(Sound):
    guarantees = {"durable": True}  # noqa: RUF012


class WithWrongGuarantee(Sound):
    guarantees = Guarantees(lock_scope="galaxy")  # type: ignore[arg-type]


class WithTextForTruth(Sound):
    guarantees = Guarantees(durable="yes")  # type: ignore[arg-type]


class WithoutClose(Sound):
    close = None


class ClaimsToList(Sound):
    guarantees = Guarantees(lists=True)


class ClaimsToDelete(Sound):
    guarantees = Guarantees(deletes=True)


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (WithDefault, "has a default for expect, lock"),
        (WithoutParameter, r"takes \(key, data, expect\)"),
        (WithForeignParameter, "encoding"),
        (Misspelt, "list_key"),
        (Wrapping, "wraps the hook read_snapshot"),
        (WithoutHook, "does not implement the hook atomic_write"),
        (WithoutGuarantees, "no attribute guarantees"),
        (WithWrongGuarantee, "lock_scope is 'galaxy'"),
        (WithTextForTruth, "durable is 'yes'"),
        (WithoutClose, "has no close"),
        (ClaimsToList, "claims lists=True and does not implement list_keys"),
        (ClaimsToDelete, "claims deletes=True and does not implement delete"),
    ],
)
def test_a_backend_that_breaks_the_contract_is_refused_with_the_reason(backend: type[Any], reason: str) -> None:
    with pytest.raises(PluginError, match=reason):
        open_store(backend=backend())


def test_properties_of_a_backend_are_not_evaluated() -> None:
    class Dialling(Sound):
        @property
        def connection(self):
            raise AssertionError("registering a backend dialled the server")

    open_store(backend=Dialling())


def test_a_result_of_none_is_an_error_of_the_plugin() -> None:
    class Forgetful(Sound):
        @hookimpl
        def read_snapshot(self, key):
            return None

    with pytest.raises(PluginError, match=r"read_snapshot of the backend .*Forgetful returned NoneType"):
        open_store(backend=Forgetful()).read_snapshot("a")


def test_an_observer_that_forgets_the_result_is_an_error_of_the_plugin() -> None:
    class Careless:
        @hookimpl(wrapper=True)
        def atomic_write(self, key):
            yield

    with pytest.raises(PluginError, match="returned NoneType instead of a Version"):
        open_store(backend=Sound(), observers=[Careless()]).atomic_write("a", b"")


def test_an_observer_may_not_implement_a_hook() -> None:
    class Usurper:
        @hookimpl
        def read_snapshot(self, key):
            return Snapshot(b"usurped")

    with pytest.raises(PluginError, match="may only wrap it"):
        open_store(backend=Sound(), observers=[Usurper()])


def test_the_first_observer_is_the_outermost() -> None:
    seen: list[str] = []

    class Observer:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl(wrapper=True)
        def read_snapshot(self, key):
            seen.append(self.name)
            return (yield)

    open_store(backend=Sound(), observers=[Observer("first"), Observer("second")]).read_snapshot("a")
    assert seen == ["first", "second"]


def test_what_a_backend_lets_escape_becomes_a_plugin_error_with_its_cause() -> None:
    class Leaking(Sound):
        @hookimpl
        def read_snapshot(self, key):
            raise KeyError("internal")

    with pytest.raises(PluginError, match="raised KeyError") as caught:
        open_store(backend=Leaking()).read_snapshot("a")
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.key == "a"


def test_a_lack_of_memory_is_no_fault_of_the_backend() -> None:
    class Large(Sound):
        @hookimpl
        def read_snapshot(self, key):
            raise MemoryError

    with pytest.raises(StoreError, match="memory") as caught:
        open_store(backend=Large()).read_snapshot("a")
    assert not isinstance(caught.value, PluginError)


def test_the_core_adds_the_key_to_a_backend_s_error() -> None:
    class Empty(Sound):
        @hookimpl
        def read_snapshot(self, key):
            raise DocumentNotFound("nothing here")

    with pytest.raises(DocumentNotFound, match="a/b: nothing here"):
        open_store(backend=Empty()).read_snapshot("a/b")


def test_two_stores_do_not_see_each_other_s_observers() -> None:
    seen: list[str] = []

    class Observer:
        @hookimpl(wrapper=True)
        def read_snapshot(self, key):
            seen.append(key)
            return (yield)

    backend = Sound()
    open_store(backend=backend, observers=[Observer()])
    open_store(backend=backend).read_snapshot("a")
    assert seen == []


def test_a_fault_when_a_backend_is_closed_is_a_store_error() -> None:
    class Stuck(Sound):
        def close(self):
            raise OSError("stuck")

    with pytest.raises(PluginError, match="close of the backend"):
        open_store(backend=Stuck()).close()


def test_a_password_that_a_plugin_puts_into_its_error_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from exlab_store.opening import registry

    class Chatty(Sound):
        def __init__(self, location, options):
            self.text = f"login failed for {location.username}:{location.password} {options}"

        @hookimpl
        def read_snapshot(self, key):
            raise ValueError(self.text)

    def refuse(location, options):
        raise ValueError(Chatty(location, options).text)

    monkeypatch.setitem(registry._openers, "chatty", Chatty)
    monkeypatch.setitem(registry._openers, "refusing", refuse)
    place, token = "//svc:{}@nas/lab".format("hunter" + "2"), "s3" + "cret"  # not as they are: tracebacks show source
    store = open_store("chatty:" + place, token=token)
    texts = []
    for call in (
        lambda: store.read_snapshot("a"),
        lambda: open_store("refusing:" + place, token=token),
    ):
        with pytest.raises(PluginError) as caught:
            call()
        texts.append("".join(traceback.format_exception(caught.value)))
    assert all("login failed for svc:***" in text for text in texts)
    assert not any(secret in text for text in texts for secret in ("hunter" + "2", token))
