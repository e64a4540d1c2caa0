"""The source of changes that a backend's hook returned: its calls pass the same gate as the hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from exlab_store.model import ProcessBound

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.changes import ChangeSource

__all__ = ["BackendSource"]


class SourceGate(Protocol):
    """What everything that a source raises or returns must pass."""

    def escaped(self, hook_name: str, error: Exception) -> NoReturn:
        """Raises it as a `StoreError`."""
        ...

    def wrong_result(self, hook_name: str, expected: str, result: object) -> NoReturn:
        """Raises the error for a result of another type."""
        ...


class BackendSource(ProcessBound):
    """A backend's source of changes, of which only a `StoreError` comes out. `BackendHooks` makes one.

    Args:
        gate: What its errors pass.
        inner: What was returned.
    """

    def __init__(self, gate: SourceGate, inner: ChangeSource) -> None:
        self._gate = gate
        self.inner = inner

    @property
    def complete(self) -> bool:
        """See `ChangeSource`, as for the other calls."""
        try:
            complete = self.inner.complete
        except Exception as error:
            self._gate.escaped("complete of a source of changes", error)
        if type(complete) is not bool:
            self._gate.wrong_result("complete of a source of changes", "True or False", complete)
        return complete

    def wait(self, timeout: float, cancelled: Callable[[], bool]) -> list[str]:
        """Waits for names."""
        try:
            found = self.inner.wait(timeout, cancelled)
            names = None if isinstance(found, str) else list(found)
        except Exception as error:
            self._gate.escaped("wait of a source of changes", error)
        if names is None or not all(isinstance(name, str) for name in names):  # pyright: ignore[reportUnnecessaryIsInstance]
            self._gate.wrong_result("wait of a source of changes", "names", found)
        return names

    def close(self) -> None:
        """Gives back what it holds."""
        try:
            self.inner.close()
        except Exception as error:
            self._gate.escaped("close of a source of changes", error)
