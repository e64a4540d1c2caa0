"""The known state of each document, and its difference from the store.

This is the one place that decides what a change is. Whatever a storage system tells is only a reason to look: a change
is reported when a document was read and is another one than before, or was looked for twice and is gone.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from exlab_store.changes import Change
from exlab_store.errors import AccessDenied, InvalidKey
from exlab_store.keys import is_key
from exlab_store.reading_many import DEFAULT_CONCURRENCY, outcome_of, read_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from exlab_store.errors import StoreError
    from exlab_store.model import Snapshot, Version

__all__ = ["EVERYTHING", "KnownDocuments"]

EVERYTHING = frozenset({""})
"""The names that stand for the whole store."""


class KnownDocuments:
    """The documents below a folder, as they were when they were last looked at.

    Args:
        prefix: The folder's key, or empty text for the whole store.
        fits: Whether a key, as it is seen from the folder, is watched; None for all.
        read: As `Store.read_snapshot`.
        list_keys: As `Store.list_keys`.
        list_watched: Lists all that is watched.
        since: What is known at first.
    """

    def __init__(
        self,
        prefix: str,
        fits: Callable[[str], bool] | None,
        read: Callable[[str], Snapshot],
        list_keys: Callable[[str], Iterable[str]],
        list_watched: Callable[[], Iterable[str]],
        since: Mapping[str, Version | None],
    ) -> None:
        self._prefix = prefix
        self._below = f"{prefix}/" if prefix else ""
        self._fits = fits
        self._read = read
        self._list_keys = list_keys
        self._list_watched = list_watched
        self.versions: dict[str, Version | None] = {key: since[key] for key in since if self._is_watched(key)}
        """The version of each document that is there; None for one that may not be read."""

    def differences(self, names: Iterable[str], stopped: Callable[[], bool]) -> Iterator[Change]:
        """Looks, and makes what it finds known.

        Args:
            names: As `ChangeSource.wait` tells them.
            stopped: Asked before each document that is read; True ends the look.

        Yields:
            Each change, once: after an error, the same names may be given again.

        Raises:
            StoreError: As `Store.list_keys` and `Store.read_snapshot` do.
        """
        keys: dict[str, None] = {}
        for name in names:
            folder = name.removesuffix("/")
            if self._below.startswith(f"{folder}/") or not folder:
                yield from self._everything_below(self._below, self._list_watched(), stopped)
                return
            if name.endswith("/"):
                if folder.startswith(self._below) and is_key(folder):
                    yield from self._everything_below(name, self._list_keys(folder), stopped)
            elif self._is_watched(name):
                keys[name] = None
        yield from self._read_again(keys, stopped)

    def _everything_below(self, below: str, listed: Iterable[str], stopped: Callable[[], bool]) -> Iterator[Change]:
        keys = {key: None for key in listed if self._is_watched(key)}
        # What the list has left out is asked for by name: a server may overlook a document that is being replaced.
        keys |= {key: None for key in self.versions if key.startswith(below)}
        yield from self._read_again(keys, stopped)

    def _is_watched(self, key: str) -> bool:
        if not key.startswith(self._below) or not is_key(key):
            return False
        return self._fits is None or self._fits(key[len(self._below) :])

    def _read_again(self, keys: Iterable[str], stopped: Callable[[], bool]) -> Iterator[Change]:
        closed_to_us: list[str] = []
        no_documents: list[str] = []

        def sort(error: StoreError) -> None:
            if isinstance(error, AccessDenied) and error.key is not None:
                closed_to_us.append(error.key)
            elif isinstance(error, InvalidKey) and error.key is not None:  # it names a folder
                no_documents.append(error.key)
            else:
                raise error

        asked_for = takewhile(lambda _: not stopped(), keys)
        for key, snapshot in read_each(self._read, asked_for, DEFAULT_CONCURRENCY, sort):
            if snapshot is not None:
                yield from self._found(key, snapshot.version)
            elif key in self.versions:
                no_documents.append(key)
        for key in closed_to_us:
            yield from self._found(key, None)
        for key in no_documents:
            yield from self._missed(key)

    def _found(self, key: str, version: Version | None) -> Iterator[Change]:
        if key not in self.versions or self.versions[key] != version:
            self.versions[key] = version
            yield Change(key, "written", version)

    def _missed(self, key: str) -> Iterator[Change]:
        """Looks a second time for a document that was there: Samba overlooks one that is being replaced."""
        if key not in self.versions:
            return
        again = outcome_of(self._read, key)
        if again.snapshot is not None:
            yield from self._found(key, again.snapshot.version)
        elif isinstance(again.error, AccessDenied):
            yield from self._found(key, None)
        elif again.error is None or isinstance(again.error, InvalidKey):
            del self.versions[key]
            yield Change(key, "deleted")
        else:
            raise again.error
