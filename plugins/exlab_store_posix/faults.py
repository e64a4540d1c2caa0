"""From the operating system's error numbers to the errors of a store."""

from __future__ import annotations

import errno
import sys
from typing import Final

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    InvalidKey,
    NotSupported,
    StorageFull,
    StoreError,
    came_from_signal_handler,
)

if sys.platform == "win32":
    from exlab_store_posix.windows.faults import certainly_refused, translated_on_windows

__all__ = ["NOTHING_THERE", "did_not_happen", "root_is_gone", "spelt_otherwise", "translated"]

NOTHING_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What stat(2) says of a path at which no document is."""

_DENIED = {
    errno.EACCES: "Ask for the right to {action} here.",
    errno.EPERM: "Ask for the right to {action} here; the file may also be marked immutable.",
    errno.EROFS: "The file system is mounted read-only.",
    errno.ELOOP: "A symbolic link stands where the store keeps its own file, and it is not followed: remove it.",
    errno.EEXIST: "Something stands where the store makes its temporary file, and it is not overwritten: remove it.",
    errno.ETXTBSY: "The file is in use as a program.",
    errno.EBUSY: "The file is mounted or in use by the system, as a single file that is mounted into a container: "
    "mount its folder instead.",
    errno.EOVERFLOW: "This account has no number on that file system, as in a user namespace: run it under another.",
}
_FULL = {
    errno.ENOSPC: "Free some space; the stored document is as it was.",
    errno.EFBIG: "The file system or a limit of this account forbids files of this size.",
    getattr(errno, "EDQUOT", errno.ENOSPC): "The quota of this account is used up; the stored document is as it was.",
}
_NAME = {
    errno.EISDIR: "The key names a folder; choose another for the document.",
    errno.ENOTDIR: "A part of the key that should be a folder is a document.",
    errno.ENAMETOOLONG: "The file system allows only shorter names.",
    errno.EILSEQ: "The file system cannot hold this name.",
    errno.ENOTEMPTY: "The key names a folder; choose another for the document.",
    errno.ENXIO: "The key names a pipe or a socket; choose another for the document.",
}

# Measured with Linux 6.1; `BackendUnavailable` all the same: nothing has happened, and trying again may succeed.
_AWAY = {
    errno.ENOLCK: "The lock service of an NFS 3 server, or rpc.statd on this machine, does not answer: start it, or "
    "mount with NFS 4.",
    # STATUS_NETWORK_NAME_DELETED. The client says it once, and EAGAIN from then on: it does not connect again.
    getattr(errno, "EREMCHG", errno.EIO): "The server has taken the share away: unmount it and mount it again.",
    errno.EAGAIN: "The server is being reached again. If this goes on, unmount the share and mount it again.",
    errno.EIO: "A disk has failed, or the server of a soft mount has not answered.",
    errno.ETIMEDOUT: "The server has not answered: look at it and at the network.",
    getattr(errno, "EHOSTDOWN", errno.ETIMEDOUT): "The server has not answered: look at it and at the network.",
}

# The system call makes no sense to this file system, today and tomorrow.
_NOT_SUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODEV}

# After one of these from rename(2) or unlink(2), the operation did certainly not happen.
_DEFINITE = {*_DENIED, *_FULL, *_NAME, *_NOT_SUPPORTED, errno.ENOENT, errno.EXDEV, errno.ENOMEM}


def did_not_happen(error: OSError, *, remote: bool) -> bool:
    """Whether the error number proves that a rename or an unlink was not carried out.

    Args:
        error: What the system call raised. EIO, ESTALE and time-outs of a server prove nothing.
        remote: A server was asked. A client that gets no answer asks again, and a server that has done it by then, and
            has been restarted since, finds the old name missing.
    """
    if sys.platform == "win32" and not certainly_refused(error):
        return False
    return error.errno in _DEFINITE and not (remote and error.errno == errno.ENOENT)


def translated(error: OSError, action: str) -> StoreError:
    """The error of a store that says the same.

    Args:
        error: What a system call raised, other than a missing document.
        action: What was tried, a verb with its object: "write the document".

    Returns:
        `AccessDenied`, `StorageFull`, `InvalidKey`, `NotSupported`, or for everything else `BackendUnavailable`, which
        is temporary and repeated.

    Raises:
        OSError: A signal handler raised it: the error itself.
    """
    if came_from_signal_handler(error):
        raise error
    if sys.platform == "win32":
        found = translated_on_windows(error, action)
        if found is not None:
            return found
    number = error.errno
    message = f"cannot {action}: {error.strerror or error}"
    if number in _DENIED:
        return AccessDenied(message, errno=number, hint=_DENIED[number].format(action=action))
    if number in _FULL:
        return StorageFull(message, errno=number, hint=_FULL[number])
    if number in _NAME:
        return InvalidKey(message, hint=_NAME[number])
    if number in _NOT_SUPPORTED:
        return NotSupported(
            message, hint="The file system or the kernel does not offer this: keep the store elsewhere."
        )
    hint = _AWAY.get(number or 0, "Look at the file system and its server; trying again may succeed.")
    return BackendUnavailable(message, errno=number, hint=hint)


def root_is_gone() -> BackendUnavailable:
    """The error for a store whose directory is gone: a share that is not mounted any more, as a rule."""
    return BackendUnavailable(
        "the store's directory is gone", errno=errno.ENOENT, hint="Mount the share again, or restore it."
    )


def spelt_otherwise(name: str, found: str, folds: str) -> InvalidKey:
    """The error for a key of which a name finds another document or folder: two keys are two documents.

    Args:
        name: In the key.
        found: What it finds.
        folds: What takes the one for the other, such as "Windows".
    """
    return InvalidKey(
        f"{name!r} is {found!r} in another spelling, which {folds} does not tell apart",
        hint=f"Write {found!r} in the key, or choose another name.",
    )
