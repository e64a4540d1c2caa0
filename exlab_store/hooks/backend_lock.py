"""The lock that a backend's hook returned: its calls pass the same gate as the hooks.

A release that fails is logged and raises nothing. What was done under the lock has happened by then, and an error would
say that it has not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import msgspec

from exlab_store.errors import StoreError
from exlab_store.model import LockOwner, ProcessBound

if TYPE_CHECKING:
    from typing import Self

    from exlab_store.model import HeldLock

__all__ = ["BackendLock"]


class Gate(Protocol):
    """What everything that a backend raises or returns must pass."""

    def escaped(self, hook_name: str, error: Exception) -> NoReturn:
        """Raises it as a `StoreError`."""
        ...

    def wrong_result(self, hook_name: str, expected: str, result: object) -> NoReturn:
        """Raises the error for a result of another type."""
        ...

    def log_failed_release(self, key: str, failure: StoreError) -> None:
        """Logs that a lock could not be released."""
        ...


class BackendLock(ProcessBound, msgspec.Struct, eq=False):
    """A backend's lock, of which only a `StoreError` comes out. `BackendHooks` makes one.

    Attributes:
        gate: What its errors pass.
        key: The key that was locked.
        inner: What was returned.
    """

    gate: Gate
    key: str
    inner: HeldLock

    @property
    def owner(self) -> LockOwner:
        """Who holds it, as the backend says."""
        try:
            owner: Any = self.inner.owner  # whatever it is
        except Exception as error:
            self.gate.escaped("owner of a lock", error)
        if not isinstance(owner, LockOwner):
            self.gate.wrong_result("owner of a lock", "a LockOwner", owner)
        return owner

    def ensure_held(self) -> None:
        """Checks that the lock is still held.

        Raises:
            LockLost: It was released or lost.
            StoreError: As the backend says.
        """
        try:
            self.inner.ensure_held()
        except Exception as error:
            self.gate.escaped("ensure_held of a lock", error)

    def release(self) -> None:
        """Releases the lock; a failure is logged. A second call does nothing."""
        try:
            self.inner.release()
        except Exception as error:
            try:
                self.gate.escaped("release of a lock", error)
            except StoreError as failure:
                self.gate.log_failed_release(self.key, failure)

    def release_or_raise(self) -> None:
        """Releases the lock.

        Raises:
            StoreError: The backend has failed to.
        """
        try:
            self.inner.release()
        except Exception as error:
            self.gate.escaped("release of a lock", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
