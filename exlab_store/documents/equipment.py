"""The cache documents of instruments: ``equipment.json``, ``test_runs.json``, ``runs.json`` [§11.4, §4.4.5]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from exlab_store.document_errors import DocumentInvalid, SchemaMajorMismatchError
from exlab_store.documents.corrupt import Repair, is_corrupt
from exlab_store.documents.formats import VersionedDocument, is_json_object
from exlab_store.documents.kinds import DocumentKind
from exlab_store.documents.times import Timestamp, UnsetOrTimestamp, now, timestamp
from exlab_store.errors import StoreError
from exlab_store.first_imports import import_whole
from exlab_store.hidden_location import hides_location

if TYPE_CHECKING:
    from exlab_store.opening.locations import DocumentLocation
    from exlab_store.store_path import StorePath

__all__ = [
    "EQUIPMENT_JSON_VERSION",
    "RUNS_JSON_VERSION",
    "TEST_RUNS_JSON_VERSION",
    "EquipmentCacheWriter",
    "EquipmentJson",
    "RunsJson",
    "TestRunsJson",
]

EQUIPMENT_JSON_VERSION = "1.0"
TEST_RUNS_JSON_VERSION = "1.0"
RUNS_JSON_VERSION = "1.0"


class EquipmentJson(VersionedDocument, frozen=True, kw_only=True):
    """``equipment.json``: one for each instrument.

    Attributes:
        schema_version: `EQUIPMENT_JSON_VERSION`.
        id: The instrument's identifier: ``CONFOCAL_01``.
        label: What people call it.
        configured_local_root: Where the workstation keeps the instrument's data.
        configured_nas_root: Where the NAS keeps it.
        first_seen_at: Set by the first write, and never changed afterwards, whatever a payload says.
        last_modified_at: Set by every write.
    """

    schema_version: str = EQUIPMENT_JSON_VERSION
    id: str
    label: str
    configured_local_root: str
    configured_nas_root: str
    first_seen_at: UnsetOrTimestamp = ""
    last_modified_at: UnsetOrTimestamp = ""


class TestRunsJson(VersionedDocument, frozen=True, kw_only=True):
    """``test_runs.json``: marks a project's ``TestRuns/`` subtree.

    Attributes:
        schema_version: `TEST_RUNS_JSON_VERSION`.
        run_kind: Always ``test``, and always stored.
        created_at: When the subtree was made.
        project: The project's short identifier: ``PROJ-0042``.
        equipment: The instrument's identifier.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    schema_version: str = TEST_RUNS_JSON_VERSION
    run_kind: Literal["test"] = "test"
    created_at: Timestamp
    project: str
    equipment: str


class RunsJson(VersionedDocument, frozen=True, kw_only=True):
    """``runs.json``: marks a project's ``Runs/`` subtree [§11.4.3].

    Attributes:
        schema_version: `RUNS_JSON_VERSION`.
        run_kind: Always ``experimental``, and always stored.
        created_at: When the subtree was made.
        project: The project's short identifier: ``PROJ-0042``.
        equipment: The instrument's identifier.
    """

    schema_version: str = RUNS_JSON_VERSION
    run_kind: Literal["experimental"] = "experimental"
    created_at: Timestamp
    project: str
    equipment: str


_PURPOSE = "equipment cache"

_EQUIPMENT = DocumentKind(EquipmentJson, EQUIPMENT_JSON_VERSION)
_TEST_RUNS = DocumentKind(TestRunsJson, TEST_RUNS_JSON_VERSION)
_RUNS = DocumentKind(RunsJson, RUNS_JSON_VERSION)

M = TypeVar("M", TestRunsJson, RunsJson)


class EquipmentCacheWriter:
    """Reads and writes the cache documents; its methods are coroutines, for asyncio and trio.

    The work runs off the event loop. Neither many waiting writers nor a slow share block the loop or starve each
    other of threads.

    Args:
        lock_timeout: Seconds that a write waits for a document's lock.
    """

    def __init__(self, *, lock_timeout: float = 30.0) -> None:
        self._lock_timeout = lock_timeout

    @hides_location
    async def write_equipment(self, location: DocumentLocation, payload: EquipmentJson) -> None:
        """Writes ``equipment.json`` under its lock; fields that this program does not know stay.

        Args:
            location: Where the document is.
            payload: What it shall say. ``last_modified_at`` is set to now, ``first_seen_at`` to what is stored or,
                on the first write, to now.

        Raises:
            SchemaMajorMismatchError: The stored document has another major version; it is left as it is.
            DocumentInvalid: The payload does not fit its own type.
            LockTimeout: The lock was not free in time; ``.holder`` may say who holds it.
            StoreError: As `Store.update` does.
        """

        def change(stored: EquipmentJson | None) -> EquipmentJson:
            moment = now()
            first = moment if stored is None else stored.first_seen_at or moment
            return msgspec.structs.replace(payload, first_seen_at=first, last_modified_at=moment)

        await _EQUIPMENT.aupdate(location, change, timeout=self._lock_timeout, purpose=_PURPOSE)

    @hides_location
    async def read_equipment(self, location: DocumentLocation) -> EquipmentJson:
        """Reads ``equipment.json``; takes no lock.

        Args:
            location: Where the document is.

        Raises:
            DocumentNotFound: There is none; it is also a `FileNotFoundError`.
            SchemaMajorMismatchError: It has another major version.
            DocumentInvalid: It is not a valid document.
            StoreError: As `Store.read_snapshot` does.
        """
        return await _EQUIPMENT.aread(location)

    @hides_location
    async def write_test_runs_marker(self, location: DocumentLocation, payload: TestRunsJson) -> None:
        """Writes ``test_runs.json`` once: a document that exists stays as it is, whatever the payload says.

        Args:
            location: Where the document is.
            payload: What a new document shall say.

        Raises:
            DocumentInvalid: The payload does not fit its own type.
            LockTimeout: The lock was not free in time.
            StoreError: As `Store.update` does.
        """
        await self._write_marker(location, payload, _TEST_RUNS)

    @hides_location
    async def read_test_runs_marker(self, location: DocumentLocation) -> TestRunsJson:
        """Reads ``test_runs.json``; errors as for `read_equipment`.

        Args:
            location: Where the document is.
        """
        return await _TEST_RUNS.aread(location)

    @hides_location
    async def write_runs_marker(self, location: DocumentLocation, payload: RunsJson) -> None:
        """Writes ``runs.json`` once, as `write_test_runs_marker` does [§11.4.3].

        Args:
            location: Where the document is.
            payload: What a new document shall say.
        """
        await self._write_marker(location, payload, _RUNS)

    @hides_location
    async def read_runs_marker(self, location: DocumentLocation) -> RunsJson:
        """Reads ``runs.json``; errors as for `read_equipment`.

        Args:
            location: Where the document is.
        """
        return await _RUNS.aread(location)

    async def _write_marker(self, location: DocumentLocation, payload: M, kind: DocumentKind[M]) -> None:
        import_whole("exlab_store.documents.coroutines")
        from exlab_store.documents.coroutines import opened_document  # anyio takes 20 ms to import

        path = await opened_document(location)
        try:
            data = _normalised(payload, kind)
        except StoreError as error:
            raise error.at(path.key, path.store.location) from error.__cause__

        once = _Once(data, path, kind)
        try:
            await path.aio.update(once, timeout=self._lock_timeout, purpose=_PURPOSE)
        finally:
            once.repair.warn()


class _Once:
    """The change that writes a marker where there is none."""

    def __init__(self, data: bytes, path: StorePath, kind: DocumentKind[Any]) -> None:
        self._data = data
        self._path = path
        self._kind = kind
        self.repair = Repair(path)

    def __call__(self, current: bytes | None) -> bytes:
        # Any JSON object counts as the marker that somebody wrote. What is none, such as the empty file that a power
        # cut leaves of a write without fsync, would stop every reader for good.
        self.undo()
        if current is None:
            return self._data
        try:
            if is_json_object(current) or self._is_of_another_program(current):
                return current
        except DocumentInvalid as error:
            raise error.at(self._path.key, self._path.store.location) from error.__cause__
        try:
            self.repair.keep(current, "it is not a JSON object")
        except BaseException:
            self.undo()  # a signal handler may have raised when the copy was made
            raise
        return self._data

    def _is_of_another_program(self, current: bytes) -> bool:
        """Whether it is nested more deeply than this program allows, and of another major or a newer minor."""
        try:
            self._kind.decode(current)
        except DocumentInvalid as error:
            return not is_corrupt(error)
        except SchemaMajorMismatchError:
            return True
        return False

    def undo(self) -> None:
        """Takes the copy of a corrupt marker back, as that was not replaced after all."""
        self.repair.undo()

    def lock_lost(self) -> bool:
        """See `Repair.lock_lost`."""
        return self.repair.lock_lost()


def _normalised(payload: M, kind: DocumentKind[M]) -> bytes:
    checked = kind.decode(kind.encode(payload))
    try:
        moment = timestamp(checked.created_at)
    except ValueError as error:  # the 30th of February: what the pattern does not catch
        raise DocumentInvalid(f"the document is not valid: {error} - at `$.created_at`") from error
    return kind.encode(msgspec.structs.replace(checked, created_at=moment))
