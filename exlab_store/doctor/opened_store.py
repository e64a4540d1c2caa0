"""The store of a client process."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store.errors import StoreError
from exlab_store.guarantees import Guarantees  # noqa: TC001  # msgspec looks at it
from exlab_store.hidden_location import is_name
from exlab_store.opening.configuration import named_store
from exlab_store.opening.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exlab_store.store import Store

__all__ = ["Opened", "OpenedStore"]


class Opened(msgspec.Struct, frozen=True):
    """What a client has opened.

    Attributes:
        location: Where, without secrets.
        of_server: Whether a server keeps it.
        guarantees: What is claimed.
    """

    location: str
    of_server: bool
    guarantees: Guarantees


class OpenedStore:
    """What every request needs."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._at: tuple[str | os.PathLike[str], str | None] = ("", None)
        self._options: Mapping[str, Any] = {}

    @property
    def store(self) -> Store:
        """The store that the first request has opened."""
        if self._store is None:
            raise RuntimeError("the first request opens the store")
        return self._store

    def open(self, location: str | os.PathLike[str], config: str | None, pid: int) -> Opened:
        """Opens the store; all clients believe to be one process, as those of two hosts or containers may."""
        os.getpid = lambda: pid
        self._at = location, config
        self._store = self.another()
        if is_name(location):
            self._options = named_store(os.fspath(location), config)[0].options
        at = self._store.location
        if at is None:
            raise RuntimeError("the store has no location")
        return Opened(str(at), bool(at.host), self._store.guarantees)

    def another(self) -> Store:
        """Opens the same place once more, in this process."""
        location, config = self._at
        return open_store(location, config=config)

    def close(self) -> None:
        """Closes the store."""
        if self._store is not None:
            with suppress(StoreError):
                self._store.close()
