"""Atomic, durable, locked JSON documents on whatever storage a site has.

The core declares hooks; backends are plugins that implement them, found by the scheme of a store's URL::

    with open_store("/data/lab") as store:
        snapshot = store.read_snapshot("CONFOCAL_01/.exlab-wizard/equipment.json")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.changes import Change
from exlab_store.document_errors import (
    DocumentInvalid,
    MigrationFailed,
    SchemaMajorMismatchError,
    SchemaVersionMissing,
)
from exlab_store.errors import (
    AccessDenied,
    BackendUnavailable,
    ConfigError,
    DocumentExists,
    DocumentNotFound,
    GuaranteeNotMet,
    InvalidKey,
    LocationError,
    LockAlreadyHeld,
    LockLost,
    LockTimeout,
    NotSupported,
    PluginError,
    StorageFull,
    StoreError,
    UnknownScheme,
    VersionConflict,
    WriteOutcomeUnknown,
)
from exlab_store.first_imports import import_whole
from exlab_store.folder_errors import FolderNotEmpty
from exlab_store.guarantees import Guarantees, Shortfall
from exlab_store.hooks.calls import Backend
from exlab_store.hooks.observing import Observation, Observer
from exlab_store.hooks.retrying import Retry
from exlab_store.hookspecs import hookimpl, hookspec
from exlab_store.ignored import IGNORED
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
from exlab_store.location import Location
from exlab_store.locks.held import StoreLock
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
    version_of,
)
from exlab_store.opening.locations import DocumentLocation, as_document
from exlab_store.opening.registry import InstalledBackend, installed_backends
from exlab_store.opening.stores import open_store
from exlab_store.secret import Secret, without_variables
from exlab_store.signal_handlers import came_from_signal_handler, mode_at, suppress_unless_signalled
from exlab_store.store import Store
from exlab_store.store_path import StorePath

if TYPE_CHECKING:
    from exlab_store.aio.path import AsyncStorePath
    from exlab_store.aio.store import AsyncStore
    from exlab_store.aio.watching import AsyncChangeStream
    from exlab_store.watching.stream import ChangeStream

__all__ = [
    "ABSENT",
    "ANY",
    "IGNORED",
    "AccessDenied",
    "AsyncChangeStream",
    "AsyncStore",
    "AsyncStorePath",
    "Backend",
    "BackendUnavailable",
    "Change",
    "ChangeStream",
    "ConfigError",
    "DocumentExists",
    "DocumentInvalid",
    "DocumentLocation",
    "DocumentNotFound",
    "Expectation",
    "FolderItem",
    "FolderNotEmpty",
    "GuaranteeNotMet",
    "Guarantees",
    "HeldLock",
    "InstalledBackend",
    "InvalidKey",
    "KeyPattern",
    "Leftover",
    "Location",
    "LocationError",
    "LockAlreadyHeld",
    "LockLost",
    "LockOwner",
    "LockTimeout",
    "MigrationFailed",
    "NotSupported",
    "Observation",
    "Observer",
    "PluginError",
    "ProcessBound",
    "Retry",
    "SchemaMajorMismatchError",
    "SchemaVersionMissing",
    "Secret",
    "Shortfall",
    "Snapshot",
    "Stat",
    "StorageFull",
    "Store",
    "StoreError",
    "StoreLock",
    "StorePath",
    "UnknownScheme",
    "Version",
    "VersionConflict",
    "WriteOutcomeUnknown",
    "as_document",
    "came_from_signal_handler",
    "check_key",
    "hookimpl",
    "hookspec",
    "installed_backends",
    "is_key",
    "is_temporary_name",
    "keys_in",
    "lock_key",
    "mode_at",
    "open_store",
    "shortened",
    "suppress_unless_signalled",
    "temporary_name",
    "temporary_writer",
    "version_of",
    "without_variables",
]


def __getattr__(name: str) -> object:
    # anyio takes 20 ms to import, and synchronous programs do without.
    if name in {"AsyncChangeStream", "AsyncStore", "AsyncStorePath"}:
        import_whole("exlab_store.aio")
        from exlab_store import aio

        return getattr(aio, name)
    if name == "ChangeStream":  # most programs watch nothing
        import_whole("exlab_store.watching.stream")
        from exlab_store.watching import stream

        return stream.ChangeStream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
