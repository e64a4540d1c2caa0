"""A change of a typed document as a change of its bytes, which keeps the bytes of a corrupt document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias

from exlab_store.document_errors import DocumentInvalid, SchemaMajorMismatchError
from exlab_store.documents.corrupt import Repair, is_corrupt
from exlab_store.documents.formats import D
from exlab_store.errors import DocumentNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.documents.formats import CheckedDocument, DocumentFormat
    from exlab_store.store_path import StorePath

__all__ = ["OnCorrupt", "OnMissing", "Rewriting"]

OnCorrupt: TypeAlias = Literal["replace", "raise"]
"""What becomes of a corrupt document: it is kept beside and replaced, or the update raises."""

OnMissing: TypeAlias = Literal["none", "raise"]
"""What an update does where there is no document: ``change`` gets None, or the update raises."""


class Rewriting(Generic[D]):
    """What `Store.update` calls, and what was written last.

    Args:
        format: How the document is stored.
        change: Gets the stored document, or None, and returns the new one.
        path: The document.
        on_corrupt: See `OnCorrupt`.
        missing: See `OnMissing`.

    Raises:
        ValueError: One of the two is another text.
    """

    def __init__(
        self,
        format: DocumentFormat[D],  # noqa: A002  # what it is
        change: Callable[[Any], D],
        path: StorePath,
        on_corrupt: OnCorrupt,
        missing: OnMissing,
    ) -> None:
        if on_corrupt not in {"replace", "raise"}:
            raise ValueError(f"on_corrupt is 'replace' or 'raise', not {on_corrupt!r}")
        if missing not in {"none", "raise"}:
            raise ValueError(f"missing is 'none' or 'raise', not {missing!r}")
        self._format = format
        self._change = change
        self._on_corrupt = on_corrupt
        self._missing = missing
        self.path = path
        self.repair = Repair(path)
        self.written = b""

    def __call__(self, current: bytes | None) -> bytes:
        """The new bytes; called under the document's lock.

        A corrupt document is last of all copied to ``<name>.corrupt-<UTC timestamp>`` beside it.

        Args:
            current: The stored bytes, or None.

        Raises:
            DocumentNotFound: There is none, and ``missing`` is ``raise``.
            DocumentInvalid: It is corrupt and ``on_corrupt`` is ``raise``, or a newer program wrote it, or the new
                one does not fit; it is left as it is.
            SchemaMajorMismatchError: It has another major version; it is left as it is.
            StoreError: There is no copy of the corrupt document.
        """
        self.undo()
        try:
            self.written = self._rewritten(current)
        except (DocumentInvalid, SchemaMajorMismatchError, DocumentNotFound) as error:
            raise error.at(self.path.key, self.path.store.location) from error.__cause__
        except BaseException:
            self.undo()  # a signal handler may have raised when the copy was made
            raise
        return self.written

    def _rewritten(self, current: bytes | None) -> bytes:
        stored: CheckedDocument[D] | None = None
        corrupt: DocumentInvalid | None = None
        if current is not None:
            try:
                stored = self._format.checked(current)
            except DocumentInvalid as error:
                if self._on_corrupt == "raise" or not is_corrupt(error):
                    raise
                corrupt = error
        elif self._missing == "raise":
            raise DocumentNotFound("there is no such document")
        new = self._format.encoded(self._change(None if stored is None else stored.document), stored, current)
        if corrupt is not None and current is not None:
            self.repair.keep(current, corrupt)
        return new

    def undo(self) -> None:
        """Takes the copy of a corrupt document back, as that was not replaced after all."""
        self.repair.undo()

    def lock_lost(self) -> bool:
        """See `Repair.lock_lost`."""
        return self.repair.lock_lost()
