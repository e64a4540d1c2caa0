"""Every error that a store operation can raise.

The type says what the caller can do, the message says what went wrong, where, and what to do next::

    StoreError
      LocationError(ValueError)          the location cannot be opened as written
        UnknownScheme                    no installed backend serves the URL's scheme
      InvalidKey(ValueError)             the key cannot name a document everywhere
      GuaranteeNotMet                    the backend promises less than was required
      NotSupported                       the backend does not offer the operation
      PluginError                        a backend or an observer is broken
      DocumentNotFound(FileNotFoundError)
      VersionConflict                    somebody else wrote first; the document is untouched
        DocumentExists(FileExistsError)
      FolderNotEmpty(OSError)            what is in the folder is not deleted with it; ``.left``
      LockTimeout(TimeoutError)          somebody else holds the lock; ``.holder`` may say who
      LockAlreadyHeld(RuntimeError)      the caller itself holds it: waiting would never end
      LockLost                           the lock is gone; nothing was written
      AccessDenied(PermissionError)
      StorageFull(OSError)
      BackendUnavailable(ConnectionError)   temporary: worth a retry
      WriteOutcomeUnknown                it may or may not have happened; ``.intended`` is the version
      DocumentInvalid(msgspec.ValidationError)
        SchemaVersionMissing             also a SchemaMajorMismatchError
        MigrationFailed                  a migration of this program raised
      SchemaMajorMismatchError           another major version; ``.expected_major``, ``.found``
      ConfigError                        a catalogue or a setting that cannot be used

Every error but `WriteOutcomeUnknown` means that the operation did not happen.
Those that are also an `OSError` keep ``errno`` where the system gave one.
"""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from exlab_store.encodable import encodable_text
from exlab_store.error_copies import restored, set_errno

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from exlab_store.guarantees import Shortfall
    from exlab_store.model import LockOwner, Version

__all__ = [
    "AccessDenied",
    "BackendUnavailable",
    "ConfigError",
    "DocumentExists",
    "DocumentNotFound",
    "GuaranteeNotMet",
    "InvalidKey",
    "LocationError",
    "LockAlreadyHeld",
    "LockLost",
    "LockTimeout",
    "NotSupported",
    "PluginError",
    "StorageFull",
    "StoreError",
    "UnknownScheme",
    "VersionConflict",
    "WriteOutcomeUnknown",
]


class StoreError(Exception):
    """The root of all errors of a store.

    Args:
        message: What went wrong: a clause without the place and without a full stop.
        key: The document's key. `Store` fills it in where a backend leaves it out.
        location: The store's location, without secrets. `Store` fills it in too.
        hint: What to do next: one sentence. Some types have one of their own for where none is given.
        errno: The system's error number, kept by those errors that are also an `OSError`.
    """

    code: ClassVar[str] = "store_error"
    http_status: ClassVar[int] = 500
    default_errno: ClassVar[int | None] = None
    default_hint: ClassVar[str | None] = None

    message: str
    key: str | None
    location: str | None
    hint: str | None

    def __init__(
        self,
        message: str,
        *,
        key: str | None = None,
        location: str | None = None,
        hint: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.key = key
        self.location = location
        self.hint = self.default_hint if hint is None else hint
        if isinstance(self, OSError):
            set_errno(self, self.default_errno if errno is None else errno)

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (type(self), self.args, getattr(self, "errno", None), dict(self.__dict__))

    def at(self, key: str | None, location: object) -> Self:
        """This error, with the document and the store filled in where it does not name them.

        Args:
            key: The document's key; None where there is none.
            location: Of the store; None for a store without one.
        """
        if self.key is None and isinstance(key, str):
            self.key = key
        if self.location is None and location is not None:
            self.location = str(location)
        return self

    @property
    def where(self) -> str:
        """The document and the store it belongs to, as far as they are known."""
        if self.key and self.location:
            return f"{self.key} in {self.location}"
        return self.key or self.location or ""

    @property
    def sentence(self) -> str:
        """What went wrong and where, without the hint."""
        return f"{self.where}: {self.message}" if self.where else self.message

    def __str__(self) -> str:
        return encodable_text(f"{self.sentence}. {self.hint}" if self.hint else self.sentence)

    @property
    def field(self) -> str | None:
        """The document's field that the error is about, if it is about one."""
        return None

    @property
    def details(self) -> Mapping[str, object]:
        """What the type of error adds, as JSON-compatible data."""
        return {}

    def envelope(self, trace_id: str | None = None, *, with_status: bool = False) -> dict[str, dict[str, object]]:
        """The error as the application reports it [§4.6.3].

        Args:
            trace_id: The caller's identifier of the request, if it has one.
            with_status: Adds ``status``, the HTTP status (``http_status``), which is no part of the format.

        Returns:
            ``{"error": {"code", "message", "field"?, "details"?, "trace_id"?}}``; optional ones are left out if empty.
        """
        members: dict[str, object] = {"code": self.code, "message": str(self)}
        status = self.http_status if with_status else None
        optional = {"field": self.field, "details": dict(self.details), "trace_id": trace_id, "status": status}
        return {"error": members | {name: value for name, value in optional.items() if value}}


class LocationError(StoreError, ValueError):
    """The location cannot be opened as it is written."""

    code = "invalid_location"
    http_status = 400
    default_hint = "Give a URL (scheme://host/path) or an absolute path."


class UnknownScheme(LocationError):
    """No installed backend serves the URL's scheme."""

    code = "unknown_scheme"


class InvalidKey(StoreError, ValueError):
    """The key cannot name a document in every storage system."""

    code = "invalid_key"
    http_status = 400


class GuaranteeNotMet(StoreError):
    """The backend promises less than `open_store` was asked to require.

    Args:
        shortfalls: Each guarantee that falls short.
        location: The store's location, without secrets.
    """

    code = "guarantee_not_met"

    def __init__(self, shortfalls: Sequence[Shortfall], *, location: str | None = None) -> None:
        self.shortfalls = tuple(shortfalls)
        super().__init__(
            "the backend does not give what is required: " + "; ".join(map(str, self.shortfalls)),
            location=location,
            hint="Choose another location or backend for this store, or require less.",
        )

    @property
    def details(self) -> Mapping[str, object]:
        """The shortfalls: guarantee, required, offered."""
        return {"shortfalls": [msgspec.to_builtins(shortfall) for shortfall in self.shortfalls]}


class NotSupported(StoreError):
    """The backend does not claim what was asked of it."""

    code = "not_supported"
    http_status = 501
    default_hint = "Look at the store's guarantees; another backend may offer it."


class PluginError(StoreError):
    """A backend or an observer breaks the contract of the hooks, or cannot be imported."""

    code = "plugin_error"


class DocumentNotFound(StoreError, FileNotFoundError):
    """There is no document at this key."""

    code = "document_not_found"
    http_status = 404
    default_hint = "Check the name and the location, or write the document first."
    default_errno = _errno.ENOENT


class VersionConflict(StoreError):
    """The document is not at the expected version; it is untouched.

    Args:
        message: What went wrong.
        expected: The version that the caller expected.
        found: The version that is stored, or None when there is no document.
        key: The document's key.
        location: The store's location, without secrets.
    """

    code = "version_conflict"
    http_status = 409

    def __init__(
        self,
        message: str = "somebody else has changed the document",
        *,
        expected: Version | None = None,
        found: Version | None = None,
        key: str | None = None,
        location: str | None = None,
    ) -> None:
        super().__init__(
            message,
            key=key,
            location=location,
            hint="Read it again, repeat the change, and write with that version.",
        )
        self.expected = expected
        self.found = found

    @property
    def details(self) -> Mapping[str, object]:
        """The expected and the found version."""
        pairs = {"expected": self.expected, "found": self.found}
        return {name: version for name, version in pairs.items() if version is not None}


class DocumentExists(VersionConflict, FileExistsError):
    """The document was expected to be absent; it exists and is untouched."""

    code = "document_exists"
    default_errno = _errno.EEXIST

    def __init__(
        self,
        message: str = "the document exists already",
        *,
        found: Version | None = None,
        key: str | None = None,
        location: str | None = None,
    ) -> None:
        super().__init__(message, found=found, key=key, location=location)


class LockTimeout(StoreError, TimeoutError):
    """The lock could not be had in time.

    Args:
        message: What went wrong.
        holder: Who holds the lock, where the backend can tell. It is a hint, not evidence.
        key: The document's key.
        location: The store's location, without secrets.
    """

    code = "lock_timeout"
    http_status = 423
    default_errno = _errno.ETIMEDOUT

    def __init__(
        self,
        message: str,
        *,
        holder: LockOwner | None = None,
        key: str | None = None,
        location: str | None = None,
    ) -> None:
        hint = (
            "Try again later; the lock is free when its holder is done or has ended."
            if holder is None
            else f"It is held by {holder}: wait for that program or end it."
        )
        super().__init__(message, key=key, location=location, hint=hint)
        self.holder = holder

    @property
    def details(self) -> Mapping[str, object]:
        """The holder, as far as it is known."""
        return {} if self.holder is None else {"holder": msgspec.to_builtins(self.holder)}


class LockAlreadyHeld(StoreError, RuntimeError):
    """The caller asks for a lock that it holds already: waiting would never end."""

    code = "lock_already_held"


class LockLost(StoreError):
    """The lock under which a write was to happen is gone; nothing was written."""

    code = "lock_lost"
    http_status = 503
    default_hint = "Take the lock again, read the document, and repeat the change."


class AccessDenied(StoreError, PermissionError):
    """The storage system refuses the operation to this user."""

    code = "access_denied"
    http_status = 403
    default_errno = _errno.EACCES


class StorageFull(StoreError, OSError):
    """There is no room for the document; the stored one is untouched."""

    code = "storage_full"
    http_status = 507
    default_errno = _errno.ENOSPC


class BackendUnavailable(StoreError, ConnectionError):
    """The storage system cannot be used at the moment; the operation did not happen and may be repeated.

    Args:
        message: What went wrong.
        exhausted: The backend has itself tried for as long as it was allowed to, so that the store does not repeat
            the operation on its own.
        key: The document's key.
        location: The store's location, without secrets.
        hint: What to do next.
        errno: The system's error number.
    """

    code = "backend_unavailable"
    http_status = 503

    def __init__(
        self,
        message: str,
        *,
        exhausted: bool = False,
        key: str | None = None,
        location: str | None = None,
        hint: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message, key=key, location=location, hint=hint, errno=errno)
        self.exhausted = exhausted


class WriteOutcomeUnknown(StoreError):
    """The write may or may not have happened, or may not survive a power cut.

    Args:
        message: What went wrong.
        intended: The version that the document has if the write happened; None for a deletion.
        key: The document's key.
        location: The store's location, without secrets.
    """

    code = "write_outcome_unknown"
    http_status = 504

    def __init__(
        self,
        message: str,
        *,
        intended: Version | None,
        key: str | None = None,
        location: str | None = None,
    ) -> None:
        super().__init__(
            message,
            key=key,
            location=location,
            hint="Read the document, then repeat the write if it is still wanted.",
        )
        self.intended = intended

    @property
    def details(self) -> Mapping[str, object]:
        """The version that was to be written."""
        return {} if self.intended is None else {"intended": self.intended}


class ConfigError(StoreError):
    """A shared document or a setting that this program is configured with cannot be used.

    Args:
        message: What went wrong.
        field: The field of the document or the setting that is wrong, if it is one.
        key: The document's key.
        location: The store's location, without secrets.
        hint: What to do next.
    """

    code = "config_error"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        key: str | None = None,
        location: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, key=key, location=location, hint=hint)
        self._field = field

    @property
    def field(self) -> str | None:
        """The field that is wrong, if it is one."""
        return self._field
