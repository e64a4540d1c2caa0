"""Which error ends the command with which code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    ConfigError,
    DocumentExists,
    DocumentInvalid,
    DocumentNotFound,
    FolderNotEmpty,
    GuaranteeNotMet,
    InvalidKey,
    LocationError,
    LockAlreadyHeld,
    LockLost,
    LockTimeout,
    MigrationFailed,
    NotSupported,
    PluginError,
    SchemaMajorMismatchError,
    SchemaVersionMissing,
    StorageFull,
    StoreError,
    UnknownScheme,
    VersionConflict,
    WriteOutcomeUnknown,
)
from exlab_store.cli.exit_codes import exit_code_of
from exlab_store.doctor import InvalidCode
from exlab_store.documents import OfflineCatalogue, read_catalogue, write_catalogue

if TYPE_CHECKING:
    from exlab_store import Store

CODES = [
    (StoreError("x"), 1),
    (LocationError("x"), 2),
    (UnknownScheme("x"), 2),
    (InvalidKey("x"), 2),
    (InvalidCode("x"), 2),
    (GuaranteeNotMet([]), 1),
    (NotSupported("x"), 1),
    (PluginError("x"), 1),
    (DocumentNotFound("x"), 3),
    (VersionConflict("x"), 4),
    (DocumentExists("x"), 4),
    (FolderNotEmpty("x"), 4),
    (LockTimeout("x"), 5),
    (LockAlreadyHeld("x"), 5),
    (LockLost("x"), 1),
    (AccessDenied("x"), 1),
    (StorageFull("x"), 1),
    (BackendUnavailable("x"), 6),
    (WriteOutcomeUnknown("x", intended=None), 1),
    (DocumentInvalid("x"), 1),
    (MigrationFailed("x"), 1),
    (SchemaVersionMissing("x", expected_major=1), 4),
    (SchemaMajorMismatchError(1, "2.0"), 4),
    (ConfigError("x"), 1),
]


def _all_errors(error: type[StoreError] = StoreError) -> set[type[StoreError]]:
    return {error}.union(*map(_all_errors, error.__subclasses__()))


@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda value: getattr(type(value), "__name__", str(value)))
def test_every_error_has_a_code(error: StoreError, code: int) -> None:
    assert exit_code_of(error) == code


def test_no_error_is_forgotten() -> None:
    assert {type(error) for error, _ in CODES} == {
        error for error in _all_errors() if error.__module__.startswith("exlab_store.")
    }


def _code_of_reading(store: Store, data: bytes | None, key: str = "catalogue.json") -> int:
    if data is not None:
        store.atomic_write(key, data)
    with pytest.raises(ConfigError) as caught:
        read_catalogue(store / key, expected_endpoint="ours")
    return exit_code_of(caught.value)


def test_a_missing_catalogue_is_not_found(store: Store) -> None:
    assert _code_of_reading(store, None) == 3


def test_a_folder_in_the_place_of_the_catalogue_is_wrong_usage(posix: Store) -> None:
    posix.atomic_write("folder/x", b"")
    assert _code_of_reading(posix, None, "folder") == 2


@pytest.mark.parametrize(
    "data",
    [
        b'{"schema_version":"2.0","lims_endpoint":"ours","projects":[]}',
        b'{"schema_version":"1.0","lims_endpoint":"theirs","projects":[]}',
        b'{"schema_version":"1.0","lims_endpoint":"theirs","projects":[{}]}',
        b'{"schema_version":"2.0","lims_endpoint":"ours","projects":{"another":"shape"}}',
        b"{}",
    ],
)
def test_a_catalogue_of_another_version_or_lims_is_a_conflict(store: Store, data: bytes) -> None:
    assert _code_of_reading(store, data) == 4


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"schema_version":"1.0","lims_endpoint":"ours","projects":[{}]}'])
def test_a_catalogue_that_is_damaged_is_a_failure(store: Store, data: bytes) -> None:
    assert _code_of_reading(store, data) == 1


def test_a_catalogue_that_fits_is_read(store: Store) -> None:
    catalogue = OfflineCatalogue("1.0", "us", "", "ours", [])
    write_catalogue(store / "catalogue.json", catalogue)
    assert read_catalogue(store / "catalogue.json", expected_endpoint="ours") == catalogue
