"""The lab's typed documents, on top of `exlab_store.Store`: nothing here touches a file system.

Wherever a function takes a location, it accepts a `exlab_store.StorePath`, a URL, or the absolute path of a local
file, so that call sites which pass a ``pathlib.Path`` keep working.
"""

from __future__ import annotations

from exlab_store.document_errors import (
    DocumentInvalid,
    MigrationFailed,
    SchemaMajorMismatchError,
    SchemaVersionMissing,
)
from exlab_store.documents.catalogue import (
    OFFLINE_CATALOGUE_VERSION,
    LIMSProject,
    OfflineCatalogue,
    aread_catalogue,
    awrite_catalogue,
    projects_from_lims,
    read_catalogue,
    write_catalogue,
)
from exlab_store.documents.equipment import (
    EQUIPMENT_JSON_VERSION,
    RUNS_JSON_VERSION,
    TEST_RUNS_JSON_VERSION,
    EquipmentCacheWriter,
    EquipmentJson,
    RunsJson,
    TestRunsJson,
)
from exlab_store.documents.formats import VersionedDocument
from exlab_store.documents.kinds import DocumentKind
from exlab_store.documents.migrations import Migration
from exlab_store.documents.times import now, timestamp
from exlab_store.documents.versions import require_schema_major
from exlab_store.errors import ConfigError

__all__ = [
    "EQUIPMENT_JSON_VERSION",
    "OFFLINE_CATALOGUE_VERSION",
    "RUNS_JSON_VERSION",
    "TEST_RUNS_JSON_VERSION",
    "ConfigError",
    "DocumentInvalid",
    "DocumentKind",
    "EquipmentCacheWriter",
    "EquipmentJson",
    "LIMSProject",
    "Migration",
    "MigrationFailed",
    "OfflineCatalogue",
    "RunsJson",
    "SchemaMajorMismatchError",
    "SchemaVersionMissing",
    "TestRunsJson",
    "VersionedDocument",
    "aread_catalogue",
    "awrite_catalogue",
    "now",
    "projects_from_lims",
    "read_catalogue",
    "require_schema_major",
    "timestamp",
    "write_catalogue",
]
