"""Errors are part of the interface."""

from __future__ import annotations

import errno
import pickle

import msgspec
import pytest

import exlab_store
from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    DocumentExists,
    DocumentInvalid,
    DocumentNotFound,
    GuaranteeNotMet,
    Guarantees,
    InvalidKey,
    LocationError,
    LockLost,
    LockOwner,
    LockTimeout,
    MigrationFailed,
    PluginError,
    SchemaMajorMismatchError,
    SchemaVersionMissing,
    StorageFull,
    StoreError,
    Version,
    VersionConflict,
    WriteOutcomeUnknown,
)

OWNER = LockOwner("0011223344556677", "ws1", "ada", 42, "2026-05-05T14:23:00Z", "re-sync")

EXAMPLES: list[StoreError] = [
    StoreError("m"),
    LocationError("m", location="l"),
    InvalidKey("m", key="k", hint="h"),
    GuaranteeNotMet(Guarantees().shortfalls(Guarantees.at_least(durable=True))),
    DocumentNotFound("m", key="k"),
    VersionConflict(expected=Version("a"), found=Version("b")),
    DocumentExists(found=Version("b")),
    LockTimeout("m", holder=OWNER),
    LockLost("m"),
    AccessDenied("m", errno=errno.EROFS),
    StorageFull("m"),
    BackendUnavailable("m", errno=errno.EIO),
    WriteOutcomeUnknown("m", intended=Version("v")),
    DocumentInvalid("m"),
    SchemaMajorMismatchError(1, "2.0"),
    SchemaVersionMissing("m", expected_major=1, key="k", hint="h"),
    MigrationFailed("m", key="k"),
]

ALL = [value for name in exlab_store.__all__ if isinstance(value := getattr(exlab_store, name), type)]
ERRORS = [value for value in ALL if issubclass(value, StoreError)]


@pytest.mark.parametrize(
    ("error", "standard"),
    [
        (LocationError, ValueError),
        (InvalidKey, ValueError),
        (DocumentNotFound, FileNotFoundError),
        (DocumentExists, FileExistsError),
        (LockTimeout, TimeoutError),
        (AccessDenied, PermissionError),
        (StorageFull, OSError),
        (BackendUnavailable, ConnectionError),
        (DocumentInvalid, msgspec.ValidationError),
        (DocumentInvalid, msgspec.DecodeError),
        (exlab_store.UnknownScheme, LocationError),
        (DocumentExists, VersionConflict),
        (SchemaVersionMissing, DocumentInvalid),
        (SchemaVersionMissing, SchemaMajorMismatchError),
    ],
)
def test_an_error_is_also_what_callers_of_today_catch(error: type, standard: type) -> None:
    assert issubclass(error, standard)


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in ERRORS]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and code.replace("_", "").isalpha() for code in codes)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_crosses_to_another_process_as_it_is(error: StoreError) -> None:
    error.key, error.location = "a/b.json", "smb://nas/lab"
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.envelope(), vars(copy)) == (str(error), error.envelope(), vars(error))
    assert getattr(copy, "errno", None) == getattr(error, "errno", None)


def test_the_system_s_error_number_is_kept() -> None:
    assert AccessDenied("m", errno=errno.EROFS).errno == errno.EROFS


@pytest.mark.parametrize(
    ("error", "number"),
    [(DocumentNotFound("m"), errno.ENOENT), (DocumentExists(), errno.EEXIST), (LockTimeout("m"), errno.ETIMEDOUT)]
    + [(AccessDenied("m"), errno.EACCES), (StorageFull("m"), errno.ENOSPC)],
)
def test_an_error_without_a_system_s_number_has_the_usual_one(error: OSError, number: int) -> None:
    assert error.errno == number


def test_the_text_says_where_what_and_what_next() -> None:
    error = AccessDenied("cannot write", key="a.json", location="file:///data", hint="Ask for the right.")
    assert str(error) == "a.json in file:///data: cannot write. Ask for the right."


def test_the_envelope_leaves_out_what_is_empty() -> None:
    assert PluginError("odd").envelope() == {"error": {"code": "plugin_error", "message": "odd"}}


def test_the_envelope_of_another_major_version_is_the_application_s() -> None:
    error = SchemaMajorMismatchError(expected_major=1, found="2.0")
    assert error.envelope("t1") == {
        "error": {
            "code": "schema_major_mismatch",
            "message": str(error),
            "field": "schema_version",
            "details": {"expected_major": 1, "found": "2.0"},
            "trace_id": "t1",
        }
    }


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_envelope_is_json(error: StoreError) -> None:
    assert msgspec.json.decode(msgspec.json.encode(error.envelope())) == error.envelope()


def test_a_lock_timeout_says_who_where_and_since_when() -> None:
    assert "ada on ws1 (process 42) since 2026-05-05T14:23:00Z for 're-sync'" in str(LockTimeout("m", holder=OWNER))


def test_a_shortfall_is_named_with_what_is_required_and_what_is_offered() -> None:
    error = GuaranteeNotMet(Guarantees(lock_scope="host").shortfalls(Guarantees.at_least(lock_scope="site")))
    assert "lock_scope must be 'site' and is 'host'" in str(error)
    assert error.details == {"shortfalls": [{"guarantee": "lock_scope", "required": "site", "offered": "host"}]}


def test_the_tree_in_the_module_s_docstring_is_the_tree() -> None:
    import exlab_store.errors as module

    drawn = [line.split("(")[0].split()[0] for line in (module.__doc__ or "").splitlines() if line.startswith("      ")]
    assert set(drawn) | {"StoreError"} == {error.__name__ for error in ERRORS}


def test_a_name_that_is_not_utf8_is_in_no_text_of_an_error() -> None:
    error = LocationError("cannot list m\udcfcller", location="relative/m\udcfcller")
    assert "relative/m\\udcfcller: cannot list m\\udcfcller" in str(error)
    assert b"m\\\\udcfcller" in msgspec.json.encode(error.envelope())
