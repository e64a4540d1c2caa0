"""The changes of a store, one after the other: from a source where the backend has one, otherwise by looking."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Literal

from exlab_store.errors import BackendUnavailable, NotSupported, StoreError
from exlab_store.first_imports import import_whole
from exlab_store.model import ProcessBound
from exlab_store.mutex import under_mutex
from exlab_store.signal_handlers import came_from_signal_handler
from exlab_store.watching.known import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from exlab_store.changes import Change, ChangeSource
    from exlab_store.model import Version
    from exlab_store.watching.known import KnownDocuments
    from exlab_store.watching.pace import Pace

__all__ = ["ChangeStream"]

_SLICE = 0.05  # seconds from one question to the next whether the wait was cancelled
_LONGEST_WAIT = 3600.0  # a wait for days overflows in some versions of Python
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # after errors, in seconds; doubled with each


class ChangeStream(ProcessBound):
    """The changes below a folder of a store: an iterator, and a context manager that ends it. `Store.watch` makes one.

    It ends when it or its store is closed, when ``cancelled`` says so, or when its time is over. An error does not end
    it: whoever asks for the next change goes on where it was, and misses nothing. One thread asks at a time.

    Args:
        known: What is known of the documents.
        open_source: Opens what tells of changes; None where the backend has no such thing.
        pace: When to look where nobody tells.
        timeout: Seconds until it ends, or None. A look that has begun is finished.
        cancelled: Asked about every 50 ms while waiting; True ends it.
        store_is_closed: Asked as ``cancelled`` is.
        onerror: Told that the storage cannot be reached, instead of raising it.
        explained: Adds to an error what it is about.
        from_now: Take the documents as they are for known: only later changes are told.

    Raises:
        StoreError: As `Store.list_keys` and `Store.read_snapshot` do.
    """

    def __init__(
        self,
        known: KnownDocuments,
        open_source: Callable[[], ChangeSource] | None,
        pace: Pace,
        *,
        timeout: float | None,
        cancelled: Callable[[], bool] | None,
        store_is_closed: Callable[[], bool],
        onerror: Callable[[StoreError], object] | None,
        explained: Callable[[StoreError], StoreError],
        from_now: bool,
    ) -> None:
        self._known = known
        self._open_source = open_source
        self._pace = pace
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._cancelled = cancelled
        self._store_is_closed = store_is_closed
        self._onerror = onerror
        self._explained = explained
        self._source: ChangeSource | None = None
        self._names: set[str] = set(EVERYTHING)
        """Where to look before anything else."""
        self._ready: deque[Change] = deque()
        self._told = dict(known.versions)
        self._next_look = 0.0
        self._failures = self._losses = 0
        self._closed = False
        self._pid = os.getpid()
        self._turn = threading.Lock()
        if from_now:
            self._take_for_known()

    @property
    def mode(self) -> Literal["polled", "pushed"]:
        """Whether the storage tells of changes (``pushed``), or the store is looked at again and again (``polled``)."""
        return "polled" if self._open_source is None else "pushed"

    @property
    def known(self) -> dict[str, Version | None]:
        """The version of each document, after the changes that were given out: ``since`` for a later watch.

        None stands for a document that may not be read.
        """
        return dict(self._told)

    def _take_for_known(self) -> None:
        try:
            self._arm()
            self._look()
        except BaseException:
            self._drop_source()
            raise
        self._ready.clear()
        self._told = dict(self._known.versions)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        if os.getpid() != self._pid:
            raise NotSupported("the watch belongs to the process that began it", hint="Begin one in the child.")
        return under_mutex(self._turn, self._next)

    def _next(self) -> Change:
        while not self._is_stopped():
            if self._ready:
                return self._given_out(self._ready.popleft())
            # What is there is looked at once, however little time there is.
            if self._time_is_over and not self._names:
                break
            try:
                self._go_on()
            except BaseException:  # of a signal handler: what was heard, or found, may be lost with it
                self._forget_what_was_not_told()
                raise
        self._drop_source()
        raise StopIteration

    def _forget_what_was_not_told(self) -> None:
        """After an error everything is looked at again, and compared with what the caller was told."""
        self._names |= EVERYTHING
        self._ready.clear()
        self._known.versions = dict(self._told)

    def _given_out(self, change: Change) -> Change:
        if change.kind == "deleted":
            self._told.pop(change.key, None)
        else:
            self._told[change.key] = change.version
        return change

    def _is_stopped(self) -> bool:
        return self._closed or self._store_is_closed() or (self._cancelled is not None and self._cancelled())

    @property
    def _time_is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def close(self) -> None:
        """Ends it, also from another thread than the one that waits for a change. A second call does nothing."""
        self._closed = True
        if not self._turn.locked():  # else the one who waits notices it within 50 ms, and closes the source itself
            under_mutex(self._turn, self._drop_source)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _go_on(self) -> None:
        """Makes one step towards the next change."""
        try:
            self._arm()
            if self._names:
                self._look()
            else:
                self._wait()
            self._failures = 0
        except BackendUnavailable as error:
            if came_from_signal_handler(error):
                raise
            self._recover(error)
        except StoreError as error:
            self._drop_source()
            if self._is_stopped():  # of a store that was closed meanwhile
                return
            self._names |= EVERYTHING
            raise self._explained(error) from error.__cause__

    def _recover(self, error: BackendUnavailable) -> None:
        """What was heard until now is not enough: everything has to be looked at again."""
        self._drop_source()
        self._names |= EVERYTHING
        if self._is_stopped():
            return
        explained = self._explained(error)
        if self._onerror is None:
            raise explained from error.__cause__
        self._onerror(explained)
        self._closed = self._closed or self._time_is_over
        self._failures += 1
        self._sleep(_pause(self._failures))

    def _arm(self) -> None:
        """Has the storage tell of changes, before they are looked for: so there is no gap between the two."""
        if self._source is not None or self._open_source is None:
            return
        try:
            self._source = self._open_source()
        except NotSupported as error:
            if came_from_signal_handler(error) or self._store_is_closed():
                raise
            self._poll_from_now_on(error)
        self._names |= EVERYTHING

    def _look(self) -> None:
        began = time.monotonic()
        whole, before = "" in self._names, len(self._ready)
        names = sorted(self._names)
        for change in self._known.differences(names, self._is_stopped):
            self._ready.append(change)
        if self._is_stopped():
            return
        self._names.clear()  # not before: after an error they are looked at again
        if not whole:
            return
        now = time.monotonic()
        if self._source is None:
            self._next_look = now + self._pace.after_look(now - began, changed=len(self._ready) > before)
        else:
            self._next_look = now + self._pace.beside_source(now - began)

    def _wait(self) -> None:
        source = self._source
        if source is None:
            self._sleep(self._next_look - time.monotonic())
            if time.monotonic() >= self._next_look:
                self._names |= EVERYTHING
            return
        until = None if source.complete else self._next_look
        try:
            self._names.update(source.wait(self._patience(until), self._is_stopped))
        except BackendUnavailable as error:
            if came_from_signal_handler(error):
                raise
            # The connection was lost, which is no failure yet: it is one if there will be no new one.
            self._drop_source()
            self._names |= EVERYTHING
            self._losses += 1
            if self._losses > 1:
                self._sleep(_pause(self._losses))
            return
        except NotSupported as error:
            if came_from_signal_handler(error) or self._is_stopped():
                raise
            self._drop_source()
            self._poll_from_now_on(error)
            return
        self._losses = 0
        if not source.complete and time.monotonic() >= self._next_look:
            self._names |= EVERYTHING

    def _patience(self, until: float | None) -> float:
        ends = [moment - time.monotonic() for moment in (until, self._deadline) if moment is not None]
        return max(0.0, min([_LONGEST_WAIT, *ends]))

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._is_stopped() and not self._time_is_over and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))

    def _poll_from_now_on(self, error: NotSupported) -> None:
        import_whole("logging")  # 10 ms to import
        import logging

        self._open_source = None
        self._names |= EVERYTHING
        where = self._explained(error).location or "the store"
        message = "%s is looked at again and again from now on, as it cannot tell of changes: %s"
        logging.getLogger("exlab_store").warning(message, where, error.message)

    def _drop_source(self) -> None:
        source, self._source = self._source, None
        if source is None:
            return
        try:
            source.close()
        except StoreError as error:  # as a lock's release: it changes nothing of what was told
            if came_from_signal_handler(error):
                raise
            import_whole("logging")  # 10 ms to import
            import logging

            where = self._explained(error).location or "the store"
            message = "%s: what told of changes could not be given back: %s"
            logging.getLogger("exlab_store").warning(message, where, error.message)


def _pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(_SHORTEST_PAUSE * (1 << min(failures, 10)), _LONGEST_PAUSE)
