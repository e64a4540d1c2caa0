"""The errors of a store for what fsspec's file systems raise: of the system, of HTTP, and of their own."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING, Final, TypeVar

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    InvalidKey,
    NotSupported,
    StorageFull,
    StoreError,
    WriteOutcomeUnknown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from exlab_store import Secret, Version

__all__ = ["FolderNotMade", "read_fault", "translating", "untrusted", "write_fault"]

T = TypeVar("T")

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Of a call of the system about a file; none of them has happened then [POSIX; Linux manual, rename(2) and open(2)].
_DENIED: Final = {
    errno.EBUSY: "The file is mounted or in use by the system: mount its folder instead.",
    errno.ELOOP: "It is a symbolic link that leads nowhere: remove it.",
    errno.ETXTBSY: "The file is in use as a program.",
    getattr(errno, "EOVERFLOW", errno.EBUSY): "This account has no number on that file system: run it under another.",
}
_NO_DOCUMENT: Final = frozenset({errno.ENOTEMPTY, errno.ENXIO, errno.EILSEQ})
_NOT_OFFERED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODEV})
# What httpx, aiohttp and urllib3 call it when they have not reached the server, and so have sent nothing. The numbers
# EHOSTUNREACH and ENETUNREACH do not tell that: a connection on which a document was sent may end with them [tcp(7)].
_NEVER_SENT: Final = frozenset(
    {
        *("ConnectError", "ConnectTimeout", "PoolTimeout"),
        *("ClientConnectorError", "ClientConnectorDNSError", "NewConnectionError"),
    }
)
_LONGEST: Final = 200


class FolderNotMade(Exception):
    """The folder of a document could not be made, so that nothing of the document was sent; the cause says why."""


def translating(call: Callable[[], T], fault_of: Callable[[Exception], StoreError], secrets: Sequence[Secret]) -> T:
    """Makes a call, from which nothing but the errors of a store comes out.

    Args:
        call: What to call.
        fault_of: Makes the error of a store for any other exception.
        secrets: What must not be shown, also not as the cause of an error.

    Raises:
        StoreError: As the call or ``fault_of`` says.
    """
    try:
        return call()
    except StoreError:
        raise
    except Exception as error:
        fault = fault_of(error)
        fault.__cause__ = _cause(error, secrets)
    raise fault  # out here, as its context would keep what is not shown


def read_fault(error: Exception, secrets: Sequence[Secret]) -> StoreError:
    """The error of a read, a look or a list.

    Args:
        error: What was raised.
        secrets: What must not be shown.
    """
    # Below a document there is no other; Apache says 400 to that.
    if isinstance(error, NotADirectoryError) or _status(error) in {400, 409}:
        return DocumentNotFound("there is no such document")
    return _refusal(error, secrets) or BackendUnavailable(_text("the storage could not be asked", error, secrets))


def write_fault(
    error: Exception, secrets: Sequence[Secret], intended: Version | None, *, whole: bool, what: str = "write"
) -> StoreError:
    """The error of a write or a deletion.

    Args:
        error: What was raised.
        secrets: What must not be shown.
        intended: The version that was to be written; None for a deletion.
        whole: A write that fails is known to leave the old document.
        what: ``write`` or ``deletion``.
    """
    refusal = _refusal(error, secrets)
    if isinstance(error, FolderNotMade) and refusal is None:
        return BackendUnavailable(_text("the folder could not be made", error.__cause__ or error, secrets))
    if isinstance(refusal, DocumentNotFound) and what == "write":
        return AccessDenied(
            "the storage has no such folder, and does not let one be made", hint="Make the folder, or allow it."
        )
    if isinstance(refusal, StorageFull) and not whole:
        return WriteOutcomeUnknown(f"{refusal.message}, and a part of the document may be there", intended=intended)
    if isinstance(refusal, BackendUnavailable) and _status(error) is not None and _status(error) not in (423, 429):
        refusal = None  # an answer of 502 or 503 may be one of a proxy that has passed the request on
    return refusal or WriteOutcomeUnknown(_text(f"the {what} was not answered", error, secrets), intended=intended)


def untrusted(error: BaseException) -> bool:
    """Whether the server's certificate was refused.

    Args:
        error: What was raised.
    """
    return any(
        isinstance(each, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(each)
        for each in _chain(error)
    )


def _cause(error: Exception, secrets: Sequence[Secret]) -> Exception | None:
    """The error as the cause of another; None where it, or what it came from, tells a secret."""
    told = any(secret.reveal() in f"{each} {each!r}" for each in _chain(error) for secret in secrets)
    return None if told else error


def _refusal(error: Exception, secrets: Sequence[Secret]) -> StoreError | None:
    """The error of what has certainly not happened; None where that is not certain."""
    if untrusted(error):
        return BackendUnavailable(
            "the server's certificate is not trusted",
            exhausted=True,
            hint="Have the server's name and the authority of its certificate right; SSL_CERT_FILE names a file with"
            " the authorities of a site.",
        )
    if isinstance(error, NotImplementedError):
        return NotSupported("the protocol does not offer this operation")
    status = _status(error)
    if status is not None:
        return _of_status(status)
    of_system = next((found for each in _chain(error) if (found := _of_system(each)) is not None), None)
    if of_system is not None:
        return of_system
    return BackendUnavailable(_text("the server cannot be reached", error, secrets)) if _was_not_sent(error) else None


def _of_system(error: BaseException) -> StoreError | None:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, FileNotFoundError):
        return DocumentNotFound("there is no such document")
    if isinstance(error, (IsADirectoryError, FileExistsError, NotADirectoryError)):
        return InvalidKey("a folder has this name, or a document has the name of one of its folders")
    if isinstance(error, PermissionError) or number == errno.EROFS:
        return AccessDenied("the storage refuses this account the operation", errno=number)
    if number in _FULL:
        return StorageFull("there is no room", errno=number)
    if number == errno.ENAMETOOLONG:
        return InvalidKey("the storage cannot hold a name of this length")
    # Libraries that ask a server choose a number for its answer, such as EBUSY for "slow down", and name no file.
    return _of_file(error, number) if isinstance(error, OSError) and error.filename is not None else None


def _of_file(error: OSError, number: int | None) -> StoreError | None:
    said = error.strerror or str(number)
    if number in _DENIED:
        return AccessDenied(f"the system refuses the operation: {said}", errno=number, hint=_DENIED[number])
    if number in _NO_DOCUMENT:
        return InvalidKey(f"the file system cannot keep a document under this name: {said}")
    if number in _NOT_OFFERED:
        return NotSupported(
            f"the system cannot do this here: {said}",
            hint="The file system or the kernel does not offer this: keep the store elsewhere.",
        )
    return None


def _of_status(status: int) -> StoreError | None:
    """The error for an answer of HTTP [RFC 9110 15; RFC 4918 11]."""
    if status == 401:
        return AccessDenied("the server refuses the account or its password (HTTP 401)")
    if status == 403:
        return AccessDenied("the server refuses this account the operation (HTTP 403)")
    if status in {404, 410}:
        return DocumentNotFound("there is no such document")
    if status in {400, 409}:
        return InvalidKey(f"a folder has this name, or a document has the name of one of its folders (HTTP {status})")
    if status in {405, 501}:
        return NotSupported(
            f"the server does not offer the operation here (HTTP {status})",
            hint="Switch WebDAV on for this folder: `Dav On` on Apache, `dav_methods` and `dav_ext_methods` on nginx.",
        )
    if status == 413:
        return StorageFull(
            "the server does not take documents of this size (HTTP 413)",
            hint="Raise `client_max_body_size` on nginx, or `LimitRequestBody` on Apache.",
        )
    if status == 414:
        return InvalidKey("the server does not take names of this length (HTTP 414)")
    if status == 507:
        return StorageFull("there is no room on the server (HTTP 507)")
    if status == 423:
        return BackendUnavailable("another program has the document locked (HTTP 423)")
    if status in {408, 425, 429, 500, 502, 503, 504}:
        return BackendUnavailable(f"the server cannot do it at the moment (HTTP {status})")
    if 300 <= status < 400:
        return NotSupported(
            f"the server points to another address (HTTP {status})", hint="Give the address that it points to."
        )
    return NotSupported(f"the server refuses the request (HTTP {status})") if 400 <= status < 500 else None


def _was_not_sent(error: Exception) -> bool:
    return any(
        type(each).__name__ in _NEVER_SENT or isinstance(each, (ConnectionRefusedError, socket.gaierror))
        for each in _chain(error)
    )


def _status(error: BaseException) -> int | None:
    """The status of an answer, as httpx, requests, aiohttp and gcsfs keep it."""
    for each in _chain(error):
        for holder in (each, getattr(each, "response", None)):
            for name in ("status_code", "status", "code"):
                try:
                    found = int(getattr(holder, name, None) or 0)
                except (TypeError, ValueError):
                    continue
                if 300 <= found < 600:
                    return found
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]


def _text(what: str, error: BaseException, secrets: Sequence[Secret]) -> str:
    """What happened, and what the library says of it: one line without secrets."""
    said = " ".join(str(error).split())
    for secret in secrets:
        said = said.replace(secret.reveal(), "***")
    said = "".join(character if character.isprintable() else "?" for character in said)[:_LONGEST].rstrip(". ")
    return f"{what}: {type(error).__name__}" + (f": {said}" if said else "")
