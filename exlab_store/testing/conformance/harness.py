"""The harness that a backend's author gives to the kit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from exlab_store.errors import DocumentNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from exlab_store.hooks.calls import Backend
    from exlab_store.store import Store

__all__ = ["Harness", "Oracle"]


class Harness(ABC):
    """One storage place that is empty at first, and the ways to it. Only `open` is required.

    The ``raw_`` methods are an oracle: they reach the storage without the backend, so that a mistake which writing
    and reading have in common comes to light. Without them the kit asks another client instead.

    Attributes:
        location: A URL with which `open_store` opens the same storage in *other processes*; None where no other
            process can reach it. A backend that claims locks between processes needs one.
        options: The options that belong to the location.
        secrets: Texts that must never be shown, beside the password of the location and of the options.
        local_root: The directory below which the backend keeps its documents as files. With it, and a location, the
            kit watches the system calls of a durable write (Linux, strace).
        patience: Seconds after which a call that should have ended counts as hanging. Every call of the backend has
            them, beside its own timeout; a test fails then with the name of the call, and the next one begins.
        lease: Seconds after which the lock of a dead holder is free, for ``lock_release="lease"``; the backend's
            options may make them short.
    """

    location: str | None = None
    options: Mapping[str, Any] = MappingProxyType({})
    secrets: Sequence[str] = ()
    local_root: Path | None = None
    patience: float = 10.0
    lease: float = 30.0

    @abstractmethod
    def open(self) -> Backend:
        """Opens another client of the same storage."""

    def raw_read(self, key: str) -> bytes | None:
        """The bytes that are stored under a key; None for nothing.

        Args:
            key: A valid key.
        """
        raise NotImplementedError

    def raw_write(self, key: str, data: bytes) -> None:
        """Stores bytes under a key, as another program would; missing folders are made.

        Args:
            key: A valid key, or a name that is none: ``x.lock``, ``x.tmp.1``.
            data: The whole document.
        """
        raise NotImplementedError

    def raw_list(self) -> list[str]:
        """The names of everything that is stored, locks and temporary files too."""
        raise NotImplementedError

    def cut(self) -> None:
        """Cuts every connection to the storage, as a network does that fails for a moment; they can be made again.

        Without it the kit does not try what a watch makes of that.
        """
        raise NotImplementedError

    def break_lock(self, key: str) -> None:
        """Takes the lock of a document away from its holder, as an operator or the end of a lease would.

        Without it the kit releases the backend's own lock behind the store's back.

        Args:
            key: The key of a document that is locked.
        """
        raise NotImplementedError


class Oracle:
    """What is really stored: through the harness's raw methods, or through a client of its own.

    Args:
        harness: The harness.
        open_client: Opens a client of its own.
    """

    def __init__(self, harness: Harness, open_client: Callable[[], Store]) -> None:
        self._harness = harness
        self._open_client = open_client

    def read(self, key: str) -> bytes | None:
        """The bytes that are stored under a key; None for nothing.

        Args:
            key: A valid key.
        """
        try:
            return self._harness.raw_read(key)
        except NotImplementedError:
            pass
        with self._open_client() as store:
            try:
                return store.read_snapshot(key).data
            except DocumentNotFound:
                return None

    def write(self, key: str, data: bytes) -> None:
        """Stores bytes under a valid key by other means than the client under test.

        Args:
            key: A valid key.
            data: The whole document.
        """
        try:
            self._harness.raw_write(key, data)
        except NotImplementedError:
            with self._open_client() as store:
                store.atomic_write(key, data)

    def plant(self, name: str) -> bool:
        """Puts something under a name that is not a valid key.

        Args:
            name: The name, ``/``-separated.

        Returns:
            Whether the harness can.
        """
        try:
            self._harness.raw_write(name, b"planted")
        except NotImplementedError:
            return False
        return True

    def names(self) -> set[str]:
        """All names that are stored, as far as anybody can tell."""
        try:
            return set(self._harness.raw_list())
        except NotImplementedError:
            pass
        with self._open_client() as store:
            return set(store.list_keys()) if store.guarantees.lists else set()
