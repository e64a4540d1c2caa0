"""The names that the author of a backend needs, in one place.

A backend imports nothing else of the core than this module and ``exlab_store`` itself::

    from exlab_store.backend import Guarantees, Snapshot, Version, ensure_expected, hookimpl, version_of

What the hooks promise is in `exlab_store.hookspecs`.
"""

from __future__ import annotations

from exlab_store.changes import ChangeSource
from exlab_store.errors import (
    AccessDenied,
    BackendUnavailable,
    DocumentExists,
    DocumentNotFound,
    InvalidKey,
    LocationError,
    LockLost,
    LockTimeout,
    NotSupported,
    StorageFull,
    StoreError,
    VersionConflict,
    WriteOutcomeUnknown,
)
from exlab_store.expectations import ensure_expected
from exlab_store.first_imports import import_whole
from exlab_store.folder_contents import removal_order
from exlab_store.folder_errors import FolderNotEmpty
from exlab_store.forked_child import in_forked_child
from exlab_store.guarantees import Guarantees
from exlab_store.hooks.calls import Backend
from exlab_store.hooks.new_folders import ensure_folder_wanted
from exlab_store.hooks.refused_mode import ensure_no_mode
from exlab_store.hookspecs import hookimpl
from exlab_store.ignored import IGNORED, not_ignored
from exlab_store.installing import how_to_install
from exlab_store.key_pattern import KeyPattern
from exlab_store.keys import (
    check_key,
    is_key,
    is_temporary_name,
    keys_in,
    lock_key,
    shortened,
    temporary_name,
    temporary_writer,
)
from exlab_store.leases import Lease, Silence
from exlab_store.location import Location
from exlab_store.model import (
    ABSENT,
    ANY,
    Expectation,
    FolderItem,
    HeldLock,
    Leftover,
    LockOwner,
    ProcessBound,
    Snapshot,
    Stat,
    Version,
    owner_in_record,
    version_of,
)
from exlab_store.mutex import Latch, start_thread, under_mutex
from exlab_store.secret import Secret, without_variables
from exlab_store.signal_handlers import came_from_signal_handler, mode_at, suppress_unless_signalled
from exlab_store.small_files import UnreadableFile, read_small_file

__all__ = [
    "ABSENT",
    "ANY",
    "IGNORED",
    "AccessDenied",
    "Backend",
    "BackendUnavailable",
    "ChangeSource",
    "DocumentExists",
    "DocumentNotFound",
    "Expectation",
    "FolderItem",
    "FolderNotEmpty",
    "Guarantees",
    "HeldLock",
    "InvalidKey",
    "KeyPattern",
    "Latch",
    "Lease",
    "Leftover",
    "Location",
    "LocationError",
    "LockLost",
    "LockOwner",
    "LockTimeout",
    "NotSupported",
    "ProcessBound",
    "Secret",
    "Silence",
    "Snapshot",
    "Stat",
    "StorageFull",
    "StoreError",
    "UnreadableFile",
    "Version",
    "VersionConflict",
    "WriteOutcomeUnknown",
    "came_from_signal_handler",
    "check_key",
    "ensure_expected",
    "ensure_folder_wanted",
    "ensure_no_mode",
    "hookimpl",
    "how_to_install",
    "import_whole",
    "in_forked_child",
    "is_key",
    "is_temporary_name",
    "keys_in",
    "lock_key",
    "mode_at",
    "not_ignored",
    "owner_in_record",
    "read_small_file",
    "removal_order",
    "shortened",
    "start_thread",
    "suppress_unless_signalled",
    "temporary_name",
    "temporary_writer",
    "under_mutex",
    "version_of",
    "without_variables",
]
