"""The values that pass between callers, the core and the backends."""

from __future__ import annotations

import enum
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    NewType,
    NoReturn,
    Protocol,
    SupportsIndex,
    TypeAlias,
    final,
    runtime_checkable,
)

import msgspec

from exlab_store.first_imports import import_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = [
    "ABSENT",
    "ANY",
    "Expectation",
    "FolderItem",
    "HeldLock",
    "Leftover",
    "LockOwner",
    "ProcessBound",
    "Snapshot",
    "Stat",
    "Version",
    "version_of",
]

Version = NewType("Version", str)
"""An opaque text that changes with the document's bytes; compare it for equality and nothing else."""


class _Expect(enum.Enum):
    ANY = "ANY"
    ABSENT = "ABSENT"

    def __repr__(self) -> str:
        return self.value


ANY: Final = _Expect.ANY
"""Write whatever is there; the last writer wins."""

ABSENT: Final = _Expect.ABSENT
"""Write only where there is no document yet; otherwise `DocumentExists`."""

Expectation: TypeAlias = Version | Literal[_Expect.ANY, _Expect.ABSENT]
"""`ANY`, `ABSENT`, or the `Version` that the document must have; otherwise `VersionConflict`."""


_sha256: Callable[[bytes], Any] | None = None


def version_of(data: bytes) -> Version:
    """The version of a document whose storage system has none of its own: the SHA-256 of its bytes, in hex.

    The same document so has the same version through every protocol.

    Args:
        data: The whole document.
    """
    global _sha256
    if _sha256 is None:
        import_whole("hashlib")  # 3 ms to import
        import hashlib

        _sha256 = hashlib.sha256
    return Version(_sha256(data).hexdigest())


@final
class Snapshot:
    """The bytes of a document and their version, both from one state of the document.

    Args:
        data: The whole document.
        version: The storage system's own version (an ETag), or None for the SHA-256 of the bytes, which is
            computed when it is first asked for: a plain read never pays for it.
        modified: When the document was last written, in seconds since 1970 by the storage's clock; None where that
            does not come with the bytes.
    """

    __slots__ = ("_data", "_version", "modified")

    modified: float | None
    """When the document was last written, where that came with the bytes; `Store.stat` asks for it."""

    def __init__(self, data: bytes, version: Version | None = None, modified: float | None = None) -> None:
        self._data = data
        self._version = version
        self.modified = modified

    @property
    def data(self) -> bytes:
        """The whole document."""
        return self._data

    @property
    def version(self) -> Version:
        """What to pass as ``expect=`` to write only if nobody else has."""
        if self._version is None:
            self._version = version_of(self._data)
        return self._version

    def __len__(self) -> int:
        return len(self._data)

    def __bool__(self) -> bool:
        # Without this, an empty document would be false, like a missing one.
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Snapshot):
            return NotImplemented
        return self._data == other._data and self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)

    def __repr__(self) -> str:
        return f"Snapshot({len(self._data)} bytes, version={self.version[:12]!r}...)"


class Stat(msgspec.Struct, frozen=True):
    """What is known of a document, or of a folder, without its bytes.

    Attributes:
        size: Bytes; 0 for a folder.
        modified: When it was last written, in seconds since 1970 by the storage's clock; None if that is not known.
        version: The document's version, where it costs nothing; None for one that has to be read.
        kind: ``document`` or ``folder``.
    """

    size: int
    modified: float | None = None
    version: Version | None = None
    kind: Literal["document", "folder"] = "document"


class FolderItem(msgspec.Struct, frozen=True, gc=False):
    """A document or a folder, as a list of a folder shows it.

    Attributes:
        key: Its key.
        kind: ``document`` or ``folder``.
        size: Of a document, in bytes; None where it was not asked for.
        modified: When it was last written, in seconds since 1970 by the storage's clock; None where it was not asked
            for, or is not known.
    """

    key: str
    kind: Literal["document", "folder"] = "document"
    size: int | None = None
    modified: float | None = None

    @property
    def name(self) -> str:
        """The last segment of the key."""
        return self.key.rpartition("/")[2]


def _shown(text: str) -> str:
    # Whoever may write to a lock file chooses what stands in it: it must not be able to drive a terminal.
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


class LockOwner(msgspec.Struct, frozen=True):
    """Who holds a lock: written into the lock where the backend can, so that a waiter can say whom it waits for.

    Attributes:
        id: Unique for each acquisition: 16 hex digits.
        host: The host's name.
        user: The account's name.
        pid: The process identifier on that host.
        since: When the lock was asked for, ``YYYY-MM-DDTHH:MM:SSZ``.
        purpose: What for, in the caller's words; may be empty.
    """

    id: str
    host: str
    user: str
    pid: int
    since: str
    purpose: str = ""

    def __str__(self) -> str:
        purpose = f" for {self.purpose!r}" if self.purpose else ""
        user, host, since = _shown(self.user), _shown(self.host), _shown(self.since)
        return f"{user} on {host} (process {self.pid}) since {since}{purpose}"


_decode_owner: Final = msgspec.json.Decoder(LockOwner).decode


def owner_in_record(record: bytes | str) -> LockOwner | None:
    """Who holds a lock, as its record says: a backend writes the owner as JSON where those who wait find it.

    Args:
        record: What stands where the record does. Anybody who may lock the document may have written it.

    Returns:
        None where it is no record: void, absent, in the middle of being written, or nonsense.
    """
    try:
        return _decode_owner(record)
    except (msgspec.DecodeError, UnicodeError, RecursionError):  # the latter two of what is no UTF-8, or nested deeply
        return None


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a store's storage that is no document.

    Attributes:
        name: Where it is, ``/``-separated below the store.
        kind: ``lock`` for a lock file, which stays as long as its folder; ``temporary`` for the unfinished write of a
            document.
        size: Its size in bytes.
        modified: When it was last written, in seconds since 1970 by the storage's clock; None if that is not known.
        age: Seconds since then, where the storage's own clock can be read; otherwise None. Subtracting ``modified``
            from the time of another machine gives nonsense when the two clocks differ.
        held: Of a lock file: whether somebody holds the lock; None if nobody can tell.
        owner: Who holds the lock, where its file says so; with ``held`` None, who may.
        abandoned: Of a temporary file: its writer is gone for certain.
        excludes: Of a lock file: the accounts and groups that may put documents beside it and cannot lock them, as the
            file is closed to them; for a person to read, such as ``group users``.
        database: Of a lock file: another program keeps an SQLite database in it, as ``filelock.ReadWriteLock`` does.
            Its locks are others, and exclude nobody who locks documents.
    """

    name: str
    kind: Literal["lock", "temporary"]
    size: int
    modified: float | None = None
    age: float | None = None
    held: bool | None = None
    owner: LockOwner | None = None
    abandoned: bool = False
    excludes: tuple[str, ...] = ()
    database: bool = False


class ProcessBound:
    """Base of what belongs to the process that made it: pickling or copying it raises `TypeError`.

    A store is such a thing, and a lock that a backend returns. In another process the lock would fence nothing, and its
    release would go to whatever file has the descriptor's number there.
    """

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied: it belongs to the process that made it; "
            "open the store, and take the lock, in the process that needs it"
        )

    def __copy__(self) -> NoReturn:
        self.__reduce_ex__(0)  # what copies itself, such as a msgspec.Struct, asks no other way

    def __replace__(self, /, **changes: object) -> NoReturn:
        self.__reduce_ex__(0)  # copy.replace() of Python 3.13


@runtime_checkable
class HeldLock(Protocol):
    """A lock that is held until it is released; also a context manager that releases it.

    Pass it as ``lock=`` to a write to have the write refused with `LockLost` if the lock was lost. It belongs to the
    process that took it: pickling or copying it raises `TypeError` (see `ProcessBound`).
    """

    @property
    def key(self) -> str:
        """The key of the locked document."""
        ...

    @property
    def owner(self) -> LockOwner:
        """Who holds it, as given to the hook."""
        ...

    def ensure_held(self) -> None:
        """Checks that the lock is still held; it may take a question to the server, and as long as an operation.

        Raises:
            LockLost: It was released or lost.
        """
        ...

    def release(self) -> None:
        """Releases the lock. A second call does nothing.

        It is free when the storage system has heard of that: another client may find it held until then.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
