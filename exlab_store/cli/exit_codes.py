"""The exit codes of the command, and which error gives which."""

from __future__ import annotations

import enum

from exlab_store import (
    BackendUnavailable,
    ConfigError,
    DocumentInvalid,
    DocumentNotFound,
    FolderNotEmpty,
    LockAlreadyHeld,
    LockTimeout,
    SchemaMajorMismatchError,
    StoreError,
    VersionConflict,
)

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(enum.IntEnum):
    """What a script can tell from the command's end. Beyond these, 128 + n: ended by signal n."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    LOCKED = 5
    UNAVAILABLE = 6
    CLAIM_BROKEN = 7
    INTERRUPTED = 130
    BROKEN_PIPE = 141


_CODES: tuple[tuple[tuple[type[StoreError], ...], ExitCode], ...] = (
    ((DocumentNotFound,), ExitCode.NOT_FOUND),
    ((VersionConflict, SchemaMajorMismatchError, FolderNotEmpty), ExitCode.CONFLICT),
    ((LockTimeout, LockAlreadyHeld), ExitCode.LOCKED),
    ((BackendUnavailable,), ExitCode.UNAVAILABLE),
)


def exit_code_of(error: StoreError) -> ExitCode:
    """The exit code of an error.

    Args:
        error: What a store or a document function raised.
    """
    if isinstance(error, ConfigError):
        return _of_catalogue(error)
    # What was typed cannot be used: a location, a name, a code. That of a document was not typed.
    if isinstance(error, ValueError) and not isinstance(error, DocumentInvalid):
        return ExitCode.WRONG_USAGE
    for types, code in _CODES:
        if isinstance(error, types):
            return code
    return ExitCode.FAILED


def _of_catalogue(error: ConfigError) -> ExitCode:
    # read_catalogue raises one type for everything; why the document could not be read is the cause.
    if isinstance(error.__cause__, StoreError):
        return exit_code_of(error.__cause__)
    # Another version or another LIMS [§7.2.9].
    return ExitCode.CONFLICT if error.field in {"schema_version", "lims_endpoint"} else ExitCode.FAILED
