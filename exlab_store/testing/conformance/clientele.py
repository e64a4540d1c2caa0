"""The fixtures of the kit: the clients of one storage place."""
# ruff: noqa: S101  # a missing location is a test that fails

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from exlab_store.backend_hooks import BackendHooks
from exlab_store.errors import LockTimeout, NotSupported
from exlab_store.model import LockOwner
from exlab_store.store import Store, open_store
from exlab_store.testing.conformance.clients import ClientProcess
from exlab_store.testing.conformance.harness import Harness, Oracle
from exlab_store.testing.conformance.running import ending_after, within

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from exlab_store.guarantees import Guarantees

__all__ = ["KEY", "Clientele", "as_claimed", "assert_locked", "between_processes", "owner", "start_processes"]

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
    """An owner for locks that are taken at the hook itself.

    Args:
        purpose: What for.
    """
    return LockOwner("0123456789abcdef", "host", "user", 1, "2026-01-01T00:00:00Z", purpose)


@contextmanager
def start_processes(harness: Harness, count: int, *, pid: int | None = None) -> Generator[list[ClientProcess]]:
    """Client processes that have opened the harness's location.

    Args:
        harness: A harness with a location.
        count: How many.
        pid: As for `ClientProcess`.
    """
    with ExitStack() as stack:
        started: list[ClientProcess] = []
        for _ in range(count):
            client = ClientProcess(str(harness.location), harness.options, harness.patience, pid=pid)
            stack.callback(client.end)
            started.append(client)
        yield [client.ready() for client in started]


class Clientele:
    """The fixtures that every theme of the kit uses."""

    @pytest.fixture
    def harness(self) -> Harness:
        """A harness with a fresh place; the author's class overrides it."""
        raise NotImplementedError("the class needs a fixture `harness` that returns a Harness")

    @pytest.fixture(autouse=True)
    def watchdog(self, harness: Harness) -> Iterator[None]:
        """Ends a test in which something waits for ever: it fails, and the others go on."""
        with ending_after(6 * harness.patience + harness.lease):
            yield

    @pytest.fixture
    def open_client(self, harness: Harness) -> Iterator[Callable[[], Store]]:
        """Opens further clients, which are closed after the test."""
        with ExitStack() as stack:
            yield lambda: stack.enter_context(open_store(backend=harness.open()))

    @pytest.fixture
    def open_hooks(self, harness: Harness) -> Iterator[Callable[[], BackendHooks]]:
        """Opens further backends, with their hooks but without a store around them."""
        with ExitStack() as stack:

            def opened() -> BackendHooks:
                hooks = BackendHooks(harness.open())
                stack.callback(hooks.close)
                return hooks

            yield opened

    @pytest.fixture
    def store(self, open_client: Callable[[], Store]) -> Store:
        """The client under test."""
        return open_client()

    @pytest.fixture
    def other(self, open_client: Callable[[], Store]) -> Store:
        """Another client of the same storage."""
        return open_client()

    @pytest.fixture
    def guarantees(self, store: Store) -> Guarantees:
        """What the backend claims."""
        return store.guarantees

    @pytest.fixture
    def oracle(self, harness: Harness) -> Oracle:
        """What is really stored."""
        return Oracle(harness)
