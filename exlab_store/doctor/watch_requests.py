"""The requests of the doctor for a watch."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal

import msgspec

from exlab_store.clients.requests import StoreRequests
from exlab_store.errors import StoreError
from exlab_store.model import Version  # noqa: TC001  # msgspec looks at it
from exlab_store.mutex import Latch

if TYPE_CHECKING:
    from exlab_store.watching.stream import ChangeStream

__all__ = ["EndedWatch", "HeardChange", "WatchRequests"]

_END = 10.0


class HeardChange(msgspec.Struct, frozen=True):
    """A change that was told.

    Attributes:
        key: The document's key.
        version: As it was told; None for a deletion.
        at: When, by `time.monotonic`.
    """

    key: str
    version: Version | None
    at: float


class EndedWatch(msgspec.Struct, frozen=True):
    """A watch that is over.

    Attributes:
        notices: All that was told, in that order.
        mode: How the watch came to know: ``polled`` also where the storage could tell no more.
        ended: Whether it ended when it was told to.
    """

    notices: tuple[HeardChange, ...]
    mode: Literal["polled", "pushed"]
    ended: bool


class WatchRequests(StoreRequests):
    """Each public method is a request."""

    def __init__(self) -> None:
        super().__init__()
        self._stream: ChangeStream | None = None
        self._listener: threading.Thread | None = None
        self._enough = threading.Event()
        self._told = Latch()
        """Of the next notice; who waits for one fetches it before it looks at those that are here."""
        self._notices: list[HeardChange] = []
        self._fault: StoreError | None = None

    def begin_watch(self, folder: str, interval: float) -> None:
        """Begins to watch a folder; nobody listens before `hear`, and what happens until then is to be told, too."""
        self._enough.clear()
        self._notices, self._fault, self._listener = [], None, None
        self._stream = self.store.watch(folder, interval=interval, cancelled=self._is_over, onerror=_go_on)

    def _is_over(self) -> bool:
        return self._enough.is_set() or self.over.is_set()

    def hear(self, key: str, version: Version, seconds: float) -> HeardChange | None:
        """Waits until the last that is told of a document is this version; None if that takes too long."""
        stream = self._begun()
        if self._listener is None:
            self._listener = threading.Thread(target=self._listen, args=(stream,), daemon=True)
            self._listener.start()
        end = time.monotonic() + seconds
        while True:
            told = self._told
            last = next((each for each in reversed(self._notices) if each.key == key), None)
            if last is not None and last.version == version:
                return last
            if self._fault is not None:
                raise self._fault
            if (left := end - time.monotonic()) <= 0:
                return None
            told.wait(left)

    def end_watch(self) -> EndedWatch:
        """Ends the watch."""
        stream = self._begun()
        self._enough.set()
        if self._listener is not None:
            self._listener.join(_END)
        ended = self._listener is None or not self._listener.is_alive()
        stream.close()
        return EndedWatch(tuple(self._notices), stream.mode, ended)

    def _begun(self) -> ChangeStream:
        if self._stream is None:
            raise RuntimeError("no watch was begun")
        return self._stream

    def _listen(self, stream: ChangeStream) -> None:
        try:
            for change in stream:
                self._notices.append(HeardChange(change.key, change.version, time.monotonic()))
                self._tell()
        except StoreError as error:
            self._fault = error
            self._tell()

    def _tell(self) -> None:
        told, self._told = self._told, Latch()
        told.open()


def _go_on(_outage: StoreError) -> None:
    """An outage is seen by what is not told in time."""
