"""The fixtures of the kit: the clients of one storage place."""
# ruff: noqa: S101  # a missing location is a test that fails

from __future__ import annotations

import inspect
import secrets
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from exlab_store.errors import LockTimeout, NotSupported
from exlab_store.model import LockOwner
from exlab_store.store import Store
from exlab_store.testing.conformance.clients import start_client
from exlab_store.testing.conformance.harness import Harness, Oracle
from exlab_store.testing.conformance.running import within
from exlab_store.testing.conformance.watching import Watch, WatchedHooks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from exlab_store.clients.process import ClientProcess
    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.calls import Backend, BackendHooks

__all__ = [
    "KEY",
    "Clientele",
    "as_claimed",
    "assert_locked",
    "between_processes",
    "owner",
    "start_processes",
    "watched_fixture",
]

T = TypeVar("T")

KEY = "folder/document.json"

_AT_ONCE = 10.0


@contextmanager
def as_claimed(claimed: bool) -> Generator[None]:
    """What is claimed must work, and what is not must say `NotSupported`.

    Args:
        claimed: Whether the backend claims what the block needs.
    """
    if claimed:
        yield
    else:
        with pytest.raises(NotSupported):
            yield


def assert_locked(store: Store, key: str) -> None:
    """Asserts that somebody else holds a lock; a backend that waits for it instead of saying so fails, too.

    Args:
        store: A client that does not hold it.
        key: The document.
    """
    with pytest.raises(LockTimeout):
        within(_AT_ONCE, lambda: store.lock(key, timeout=0))


def between_processes(harness: Harness, guarantees: Guarantees) -> bool:
    """Whether other processes can be clients; if they cannot, the backend must not claim anything between them.

    Args:
        harness: The harness.
        guarantees: The backend's guarantees.
    """
    if harness.location is not None:
        return True
    assert guarantees.lock_scope in {"none", "process"}, (
        f"the backend claims lock_scope={guarantees.lock_scope!r}, and no other process can try it: "
        "give the harness a location"
    )
    return False


def owner(purpose: str = "conformance") -> LockOwner:
    """An owner for locks that are taken at the hook itself: another one each time, as the core's are.

    Args:
        purpose: What for.
    """
    return LockOwner(secrets.token_hex(8), "host", "user", 1, "2026-01-01T00:00:00Z", purpose)


@contextmanager
def start_processes(harness: Harness, count: int, *, pid: int | None = None) -> Generator[list[ClientProcess]]:
    """Client processes that have opened the harness's location.

    Args:
        harness: A harness with a location.
        count: The number of clients.
        pid: As for `ClientProcess.open`.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(start_client(harness, pid=pid)) for _ in range(count)]
        for client in clients:
            _ = client.opened
        yield clients


def _close(backends: Iterable[Backend], watch: Watch) -> None:
    for backend in backends:
        with watch.call("close"):
            backend.close()


def _watched(test: Callable[..., None]) -> Callable[..., None]:
    """The test, run by the watch of its class."""

    @wraps(test)
    def run(self: Clientele, **fixtures: object) -> None:
        __tracebackhide__ = True
        self.watching.run("the test", partial(test, self, **fixtures))

    return run


def watched_fixture(make: Callable[..., T]) -> Callable[..., T]:
    """A fixture of the kit: it may call the backend, and so it is run by the watch, as the tests are.

    pytest itself runs a fixture in its main thread, where a call that hangs would stop every other test.

    Args:
        make: The method that gives the fixture; no generator.
    """

    @wraps(make)
    def run(self: Clientele, watch: Watch, **fixtures: object) -> T:
        __tracebackhide__ = True
        if "watch" in wanted:
            fixtures["watch"] = watch
        return watch.run(f"the fixture `{make.__name__}`", partial(make, self, **fixtures))

    signature = inspect.signature(make)  # pytest reads from it what the fixture needs
    wanted = signature.parameters
    if "watch" not in wanted:
        added = inspect.Parameter("watch", inspect.Parameter.KEYWORD_ONLY)
        signature = signature.replace(parameters=[*wanted.values(), added])
    run.__signature__ = signature  # type: ignore[attr-defined]
    return pytest.fixture(run)


class Clientele:
    """The fixtures that every theme of the kit uses."""

    watching: Watch

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.__module__.startswith("exlab_store.testing."):
            return  # what an author adds may need the main thread, for signals
        for name, member in list(vars(cls).items()):
            if name.startswith("test_"):
                setattr(cls, name, _watched(member))

    @pytest.fixture
    def harness(self) -> Harness:
        """A harness with a fresh place; the author's class overrides it."""
        raise NotImplementedError("the class needs a fixture `harness` that returns a Harness")

    @pytest.fixture(autouse=True)
    def watch(self, harness: Harness) -> Watch:
        """Fails a test in which something waits for ever, and the others go on."""
        self.watching = Watch(harness.patience, 6 * harness.patience + harness.lease)
        return self.watching

    @pytest.fixture
    def open_backend(self, harness: Harness, watch: Watch) -> Iterator[Callable[[], Backend]]:
        """Opens further backends, without anything around them."""
        opened: list[Backend] = []

        def open_another() -> Backend:
            with watch.call("open of the harness"):
                backend = harness.open()
            opened.append(backend)
            return backend

        yield open_another
        if not watch.hung:  # what hangs in a call may not end either
            watch.run("close", lambda: _close(reversed(opened), watch))

    @pytest.fixture
    def open_hooks(self, watch: Watch, open_backend: Callable[[], Backend]) -> Callable[[], BackendHooks]:
        """Opens further backends, with their hooks but without a store around them."""

        def open_another() -> BackendHooks:
            backend = open_backend()
            with watch.call("guarantees"):
                return WatchedHooks(backend, watch)

        return open_another

    @pytest.fixture
    def open_client(self, open_hooks: Callable[[], BackendHooks]) -> Callable[[], Store]:
        """Opens further clients, which are closed after the test."""
        return lambda: Store(open_hooks(), None)

    @watched_fixture
    def store(self, open_client: Callable[[], Store]) -> Store:
        """The client under test."""
        return open_client()

    @watched_fixture
    def other(self, open_client: Callable[[], Store]) -> Store:
        """Another client of the same storage."""
        return open_client()

    @pytest.fixture
    def guarantees(self, store: Store) -> Guarantees:
        """What the backend claims."""
        return store.guarantees

    @pytest.fixture
    def oracle(self, harness: Harness, open_client: Callable[[], Store]) -> Oracle:
        """What is really stored."""
        return Oracle(harness, open_client)
