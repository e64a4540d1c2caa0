"""The verbs of a store that read: one document, many, and the keys that there are."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, overload

from exlab_store.errors import DocumentNotFound, NotSupported, StoreError
from exlab_store.first_imports import import_whole
from exlab_store.hooks.retrying import DEFAULT_RETRY, Retry, RetryingHooks
from exlab_store.key_pattern import KeyPattern
from exlab_store.keys import check_key
from exlab_store.location import url_of
from exlab_store.locks.held import this_process
from exlab_store.looking import entries_of, matching, stat_of
from exlab_store.model import ProcessBound
from exlab_store.reading_many import DEFAULT_CONCURRENCY, check_concurrency, read_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.calls import BackendHooks
    from exlab_store.location import Location
    from exlab_store.model import FolderItem, Leftover, Snapshot, Stat, Version
    from exlab_store.watching.stream import ChangeStream

__all__ = ["ReadableStore"]


class ReadableStore(ProcessBound):
    """The part of a `Store` that changes nothing.

    Args:
        hooks: The backend's hooks.
        location: Where the store is; None for a backend that was given as an object.
        retry: How operations are repeated, or None.
    """

    def __init__(self, hooks: BackendHooks, location: Location | None, retry: Retry | None = DEFAULT_RETRY) -> None:
        self._hooks = hooks
        self._calls = RetryingHooks(hooks, retry)
        self._location = location
        # Once and for all, as every lock needs it: what the URL of each document begins with.
        self.address = url_of(location, "") if location is not None and location.shared else None
        self._guarantees = hooks.guarantees
        this_process(os.getpid())  # imports now what could not be imported when no descriptor is left

    @property
    def guarantees(self) -> Guarantees:
        """What the backend promises."""
        return self._guarantees

    @property
    def location(self) -> Location | None:
        """Where the store is; None for one that was opened with a backend object."""
        return self._location

    @overload
    def read_snapshot(self, key: str) -> Snapshot: ...
    @overload
    def read_snapshot(self, key: str, *, unless: Version | None) -> Snapshot | None: ...
    def read_snapshot(self, key: str, *, unless: Version | None = None) -> Snapshot | None:
        """Reads a document as it is at one moment; never waits for a writer.

        Args:
            key: The document's key.
            unless: The version that the caller has already; None for none. The document is read all the same, but
                need not be decoded.

        Returns:
            The bytes and, computed when asked for, their version; None if the document is still at ``unless``.

        Raises:
            DocumentNotFound: There is none.
            InvalidKey: The key is not portable, or names a folder.
            AccessDenied: This user may not read it.
            BackendUnavailable: The storage cannot be reached, after the retries.
        """
        try:
            check_key(key)
            snapshot = self._calls.read_snapshot(key)
        except StoreError as error:
            raise error.at(key, self._location) from error.__cause__
        return None if unless is not None and snapshot.version == unless else snapshot

    def read_many(
        self,
        keys: Iterable[str],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        onerror: Callable[[StoreError], object] | None = None,
    ) -> Iterator[tuple[str, Snapshot | None]]:
        """Reads many documents, several at a time where the storage is slow.

        Args:
            keys: The documents' keys. They are taken as they are needed; a repeated key is read again.
            concurrency: How many are read at a time, at most.
            onerror: Called with the error of a document that cannot be read, whose ``key`` says which, instead of
                raising it. A missing document is no error.

        Yields:
            The key and the snapshot, or None for a missing document, as they come. Whoever stops early waits for
            the reads that are under way, and leaves nothing behind.

        Raises:
            ValueError: ``concurrency`` is less than 1.
            StoreError: As `read_snapshot` does, for the first document that cannot be read, without ``onerror``.
        """
        check_concurrency(concurrency)
        return read_each(self.read_snapshot, keys, concurrency, onerror)

    def stat(self, key: str) -> Stat:
        """Says how large a document is and when it was last written, without reading it where the backend can.

        Args:
            key: The document's key, or a folder's.

        Returns:
            Size, time and, where it costs nothing, the version; for a folder, a `Stat` of that kind.

        Raises:
            DocumentNotFound: There is neither a document nor a folder.
            InvalidKey: The key is not portable, or names something else.
            AccessDenied: This user may not look at it, or not read it where the backend reads.
            BackendUnavailable: The storage cannot be reached, after the retries.
        """
        try:
            return stat_of(self._calls, check_key(key), lists=self._guarantees.lists)
        except StoreError as error:
            raise error.at(key, self._location) from error.__cause__

    def exists(self, key: str) -> bool:
        """Whether there is a document, or a folder, as with `pathlib.Path.exists`.

        Args:
            key: Its key.

        Raises:
            StoreError: As `stat` does, but for what is not there.
        """
        try:
            self.stat(key)
        except DocumentNotFound:
            return False
        return True

    def list_folder(self, key: str = "", *, stat: bool = False) -> Iterator[FolderItem]:
        """Lists the documents and folders directly in a folder, in the order of their names.

        What storage systems keep beside documents (`IGNORED`) is left out. Where the storage system has folders of its
        own, empty ones are listed too.

        Args:
            key: The folder's key, or empty text for the store itself. A folder that does not exist is empty.
            stat: With the documents' sizes and times.

        Returns:
            An iterator that does a part of the work at each step; what goes meanwhile may be left out.

        Raises:
            NotSupported: The backend does not claim ``lists``.
            InvalidKey: The key is not portable.
            AccessDenied: This user may not list it.
            BackendUnavailable: The storage cannot be reached; repeated only before the first entry.
        """
        try:
            return entries_of(self._calls, self._listable(key), stat=stat, location=self._location)
        except StoreError as error:
            raise error.at(key or None, self._location) from error.__cause__

    def list_keys(self, prefix: str = "", *, pattern: str | None = None) -> list[str]:
        """Lists the documents below a folder, at any depth, in order.

        What storage systems keep beside documents (`IGNORED`) is left out, unless the folder itself is such a one.

        Args:
            prefix: The folder's key, or empty text for the whole store. A folder that does not exist is empty.
            pattern: Which documents, as seen from the folder: ``*/runs/*.json``, ``**/creation.json``. The signs are
                those of `pathlib.Path.glob`, and case counts. Folders in which nothing can fit are not walked.

        Raises:
            NotSupported: The backend does not claim ``lists``.
            InvalidKey: The prefix is not a valid key.
            ValueError: The pattern is empty, or no key can fit it.
            AccessDenied: This user may not list it.
            BackendUnavailable: The storage cannot be reached, after the retries.
        """
        if pattern is not None:
            return [entry.key for entry in self.list_matching(prefix, pattern) if entry.kind == "document"]
        try:
            return sorted(self._calls.list_keys(self._listable(prefix)))
        except StoreError as error:
            raise error.at(prefix or None, self._location) from error.__cause__

    def list_matching(self, prefix: str, pattern: str) -> list[FolderItem]:
        """Lists the documents and the folders below a folder that fit a pattern, in the order of their keys.

        Args:
            prefix: As for `list_keys`.
            pattern: As for `list_keys`.

        Raises:
            ValueError: The pattern is empty, or no key can fit it.
            StoreError: As `list_keys` does.
        """
        wanted = KeyPattern(pattern)
        try:
            return matching(self._calls, self._listable(prefix), wanted)
        except StoreError as error:
            raise error.at(prefix or None, self._location) from error.__cause__

    def watch(
        self,
        prefix: str = "",
        *,
        pattern: str | None = None,
        since: Mapping[str, Version | None] | None = None,
        timeout: float | None = None,
        cancelled: Callable[[], bool] | None = None,
        interval: float | None = None,
        onerror: Callable[[StoreError], object] | None = None,
    ) -> ChangeStream:
        """Tells of changes below a folder: of each document at least the last state, and none that did not happen.

        Several changes of a document in a short time may be told as one. A connection that is lost is made again; then
        everything is looked at, and what differs is told.

        Args:
            prefix: The folder's key, or empty text for the whole store. It need not exist.
            pattern: Which documents, as for `list_keys`. The others are not read.
            since: The version of each document that the caller knows: whatever differs is told first. ``{}`` tells of
                each document that is there, as ``written``. None for what there is now: each document is read once
                before this returns, and only later changes are told.
            timeout: Seconds after which the iteration ends; 0 tells what differs now; None for no end.
            cancelled: Asked about every 50 ms while waiting, from the thread that iterates; True ends the iteration.
            interval: Seconds from one look to the next while documents change, where the storage does not tell; None
                for the ``watch_interval`` of the site's configuration, or 1. While nothing changes, it grows to ten
                times as long.
            onerror: Called with each `BackendUnavailable`, instead of raising it: the watch goes on trying.

        Returns:
            An iterator of `Change`, which waits for the next one, and a context manager that ends it.

        Raises:
            NotSupported: The backend does not claim ``watch``.
            ValueError: As `list_keys` does, and for an ``interval`` that is not positive.
            InvalidKey: The prefix is not a valid key.
            AccessDenied: This user may not list the folder.
            BackendUnavailable: The storage cannot be reached, after the retries. The iterator raises it too; whoever
                asks it for the next change again goes on, and misses nothing.
        """
        import_whole("exlab_store.watching.beginning")  # most programs watch nothing
        from exlab_store.watching.beginning import WatchedStore, begin_watch

        watched = WatchedStore(
            self._guarantees, self._location, self._calls, self.read_snapshot, self.list_keys, self._is_closed
        )
        try:
            return begin_watch(
                watched,
                prefix,
                pattern=pattern,
                since=since,
                timeout=timeout,
                cancelled=cancelled,
                interval=interval,
                onerror=onerror,
            )
        except StoreError as error:
            raise error.at(prefix or None, self._location) from error.__cause__

    def _is_closed(self) -> bool:
        return not isinstance(self._calls, RetryingHooks)  # pyright: ignore[reportUnnecessaryIsInstance]

    def list_leftovers(self, prefix: str = "") -> list[Leftover]:
        """Lists the lock files and temporary files below a folder, in order: for those who look after a store.

        Args:
            prefix: The folder's key, or empty text for the whole store.

        Raises:
            NotSupported: The backend cannot tell.
            InvalidKey: The prefix is not a valid key.
            AccessDenied: This user may not list it.
            BackendUnavailable: The storage cannot be reached, after the retries.
        """
        try:
            if prefix:
                check_key(prefix)
            if not self._hooks.shows_leftovers:
                raise NotSupported("the backend does not show its lock files and temporary files")
            return sorted(self._calls.list_leftovers(prefix), key=lambda leftover: leftover.name)
        except StoreError as error:
            raise error.at(prefix or None, self._location) from error.__cause__

    def _listable(self, prefix: str) -> str:
        if prefix:
            check_key(prefix)
        if not self._guarantees.lists:
            raise NotSupported("the backend does not list its keys", hint=self._why_not("lists"))
        return prefix

    @property
    def unclaimed(self) -> Mapping[str, str]:
        """The reasons why guarantees are not claimed, by their names, as far as the backend gives them."""
        return MappingProxyType(self._hooks.unclaimed)

    def _why_not(self, guarantee: str) -> str | None:
        """Why the backend does not claim a guarantee, as a sentence; None where it does not say."""
        reason = self._hooks.unclaimed.get(guarantee)
        return None if reason is None else f"{reason[:1].upper()}{reason[1:]}."

    def _read(self, key: str) -> Snapshot | None:
        try:
            return self.read_snapshot(key)
        except DocumentNotFound:
            return None
