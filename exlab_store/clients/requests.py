"""The requests that every client process answers; a subclass adds more."""

from __future__ import annotations

import functools
import os
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import msgspec

from exlab_store.clients import work
from exlab_store.errors import StoreError
from exlab_store.guarantees import Guarantees  # noqa: TC001  # msgspec looks at it
from exlab_store.model import ANY
from exlab_store.opening.interpreter import own_interpreter
from exlab_store.opening.stores import open_store
from exlab_store.secret import revealed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exlab_store.model import Version
    from exlab_store.store import Store

__all__ = ["StoreDescription", "StoreRequests", "on_store"]

P = ParamSpec("P")
T = TypeVar("T")

_PROGRAM = "import time; time.sleep(30)"


def on_store(task: Callable[Concatenate[Store, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A request that does a task with the client's store.

    Args:
        task: A function whose first argument is a store.
    """

    @functools.wraps(task)
    def request(session: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return task(session.store, *args, **kwargs)

    return request


class StoreDescription(msgspec.Struct, frozen=True):
    """The store that a client has opened.

    Attributes:
        location: Where, without secrets.
        of_server: Whether a server keeps it.
        guarantees: What is claimed.
        unclaimed: Why a guarantee is not, where the backend says so.
    """

    location: str
    of_server: bool
    guarantees: Guarantees
    unclaimed: dict[str, str] = {}


class StoreRequests:
    """Each public method is a request."""

    create = on_store(work.create)

    def __init__(self) -> None:
        self.over = threading.Event()
        """Set when the process that asks has gone, or wants no more."""
        self._store: Store | None = None
        self._location: str | os.PathLike[str] = ""
        self._options: Mapping[str, object] = {}
        self._config: str | None = None

    @property
    def store(self) -> Store:
        """The store that the first request has opened."""
        if self._store is None:
            raise RuntimeError("the first request opens the store")
        return self._store

    def open(
        self,
        location: str | os.PathLike[str],
        options: Mapping[str, object],
        config: str | None,
        pid: int | None,
    ) -> StoreDescription:
        """Opens the store; the arguments are those of `ClientProcess.open`, hidden."""
        if pid is not None:
            os.getpid = lambda: pid
        self._location, self._options, self._config = location, options, config
        self._store = self.another()
        at = self._store.location
        if at is None:
            raise RuntimeError("the store has no location")
        return StoreDescription(str(at), bool(at.host), self._store.guarantees, dict(self._store.unclaimed))

    def another(self) -> Store:
        """Opens the same store once more, in this process."""
        opening: Callable[..., Store] = open_store  # of which types the options must be, the backend says
        return opening(self._location, config=self._config, **revealed(self._options))

    def close(self) -> None:
        """Closes the store."""
        if self._store is not None:
            with suppress(StoreError):
                self._store.close()

    def read(self, key: str) -> tuple[bytes, Version]:
        """A document and its version."""
        snapshot = self.store.read_snapshot(key)
        return snapshot.data, snapshot.version

    def write(self, key: str, data: bytes, expect: Version | None = None) -> Version:
        """Writes, whatever is there or on a condition."""
        return self.store.atomic_write(key, data, expect=ANY if expect is None else expect)

    def delete(self, key: str, expect: Version | None = None) -> None:
        """Deletes, whatever is there or on a condition."""
        self.store.delete(key, expect=ANY if expect is None else expect)

    def begin_program(self) -> int:
        """Starts a program as many programs do, with whatever descriptors are inheritable; returns its process."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen(  # noqa: S603  # this very interpreter
            [own_interpreter(), "-I", "-S", "-c", _PROGRAM], close_fds=False, stdin=quiet, stdout=quiet, stderr=quiet
        ).pid
