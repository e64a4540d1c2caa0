"""The bytes of a corrupt document, kept beside it before it is replaced [§11.9]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.document_errors import MigrationFailed
from exlab_store.documents.times import now
from exlab_store.errors import AccessDenied, DocumentNotFound, StoreError
from exlab_store.first_imports import import_whole
from exlab_store.keys import MAX_KEY_BYTES, MAX_SEGMENT_BYTES, shortened
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exlab_store.document_errors import DocumentInvalid
    from exlab_store.store_path import StorePath

__all__ = ["Repair", "is_corrupt"]

_MARK = ".corrupt-"
_COPIES_OF_A_SECOND = 100  # far more than anybody repairs; without a bound, names that cannot be read are no end


class Repair:
    """The repair of one document. Its methods are called under the document's lock.

    Args:
        path: The document.
    """

    def __init__(self, path: StorePath) -> None:
        self._path = path
        self._made: StorePath | None = None
        self._data = b""
        self._shared = False
        self._warning: tuple[str | None, object] | None = None

    def keep(self, data: bytes, reason: object) -> None:
        """Sees to it that there is a copy of the bytes, once; to be called right before the replacement is written.

        Args:
            data: The corrupt bytes.
            reason: What is wrong with them, for the log.

        Raises:
            StoreError: There is no copy, and the document must not be replaced.
        """
        self.undo()
        kept = next(self._copies_of(data), None)
        if kept is None:
            kept = self._new()
            self._made, self._data, self._shared = kept, data, False
            try:
                made = self._path.store.keep_copy(self._path.key, kept.key, data)
            except BaseException:
                # It may be there: its folder could not be synchronised, or a signal handler has raised.
                self.undo()
                raise
            if not made:
                # A link is replaced, and never what it points to.
                self._made, self._warning = None, (None, reason)
                return
        self._warning = kept.name, reason

    def lock_lost(self) -> bool:
        """Notes that others may repair the document now, and find the copy that they need; returns if there is one."""
        self._shared = True
        return self._made is not None

    def undo(self) -> None:
        """Takes the copy back, as the document was not replaced after all; called under the document's lock."""
        made, self._made, self._warning = self._made, None, None
        if made is None:
            return
        try:
            if not self._shared or self._path.read_snapshot().data == self._data:
                made.delete()
        except StoreError as error:
            if came_from_signal_handler(error):
                raise
            # A copy more does no harm, and the next repair will find it.

    def warn(self) -> None:
        """Logs what was done, when all is over."""
        if self._warning is None:
            return
        import_whole("logging")
        import logging  # 10 ms to import, and hardly any program meets a corrupt document

        log = logging.getLogger("exlab_store")
        kept, reason = self._warning
        if kept is not None:
            log.warning("kept the corrupt document %s as %s: %s", self._path, kept, reason)
        else:
            message = "the corrupt document %s is replaced; it is a link, and what it points to is left as it is: %s"
            log.warning(message, self._path, reason)

    def _copies_of(self, data: bytes) -> Iterator[StorePath]:
        """The copies that hold these bytes, the newest first."""
        store = self._path.store
        first = _beside(self._path, _suffix())
        folder, _, name = first.key.rpartition("/")
        # A long name is cut, by two bytes more for the second copy of a second; its digest stays.
        stem = name[: -len(_suffix())]
        digest = stem[-17:] if stem != self._path.name else None
        if not store.guarantees.lists:
            return
        try:
            keys = store.list_keys(folder)
        except StoreError:
            return  # a folder below may be closed to this account: then there is one copy more
        for key in reversed(keys):
            above, _, other = key.rpartition("/")
            beginning, mark, _ = other.rpartition(_MARK)
            if above == folder and mark and (beginning == stem or (digest and beginning.endswith(digest))):
                try:
                    if (store / key).read_snapshot().data == data:
                        yield store / key
                except StoreError:
                    continue  # it cannot be read, so it cannot be told

    def _new(self) -> StorePath:
        suffix = _suffix()
        copy = _beside(self._path, suffix)
        number = 1
        while _exists(copy) and number < _COPIES_OF_A_SECOND:
            number += 1
            copy = _beside(self._path, f"{suffix}-{number}")
        if number >= _COPIES_OF_A_SECOND:
            raise AccessDenied(
                "it is corrupt and not replaced: no name for its copy is free, or none can be looked at",
                hint="Look at the copies (.corrupt-...) in its folder, and at this account's rights to read there.",
            )
        return copy


def is_corrupt(error: DocumentInvalid) -> bool:
    """Whether the bytes are to blame, and nobody may be able to read them.

    Args:
        error: What the check of stored bytes raised.
    """
    if error.newer_minor is not None or isinstance(error, MigrationFailed):
        return False
    # Its stack is the reader's own: another thread may well read the document.
    return not isinstance(error.__cause__, RecursionError)


def _suffix() -> str:
    # No colons: they are not allowed in keys.
    return _MARK + now().replace("-", "").replace(":", "")


def _beside(path: StorePath, suffix: str) -> StorePath:
    folder = path.key.rpartition("/")[0]
    # A key is at most 1,024 bytes long: at the end of a very deep folder there is room only further up.
    while (room := MAX_KEY_BYTES - len(folder.encode()) - 1) < len(suffix) + 24:
        folder = folder.rpartition("/")[0]
    name = shortened(path.name, suffix, min(room, MAX_SEGMENT_BYTES))
    return path.store / (f"{folder}/{name}" if folder else name)


def _exists(path: StorePath) -> bool:
    try:
        path.read_snapshot()
    except DocumentNotFound:
        return False
    except StoreError:
        return True  # whatever it is, it stays
    return True
