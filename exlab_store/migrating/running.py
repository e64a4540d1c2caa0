"""`migrate`: list, copy, check, delete."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import msgspec

from exlab_store.errors import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    LockAlreadyHeld,
    LockTimeout,
    NotSupported,
    StorageFull,
    StoreError,
    VersionConflict,
    WriteOutcomeUnknown,
)
from exlab_store.migrating.guarded import delete_under, write_under
from exlab_store.migrating.parallel import in_parallel
from exlab_store.migrating.report import DocumentReport, Migration
from exlab_store.migrating.same_location import (
    is_mark,
    mark,
    name_of,
    refuse_if_inside,
    refuse_if_marked,
    refuse_same_location,
)
from exlab_store.model import ABSENT, ANY, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exlab_store.migrating.report import Phase
    from exlab_store.model import Expectation, Leftover, Snapshot
    from exlab_store.store import Store, StoreLock

__all__ = ["migrate"]

_ROUNDS = 3
_LOCK_POLL = 0.05
_PURPOSE = "migration"


def migrate(
    source: Store,
    target: Store,
    *,
    dry_run: bool = False,
    overwrite: bool = False,
    delete_source: bool = False,
    lock_timeout: float = 2.0,
    jobs: int = 8,
    progress: Callable[[Phase, int, int], None] | None = None,
) -> Migration:
    """Copies all documents of one store to another, and checks that they are there.

    Each is written under its locks in both stores, as durable as the target writes. Then every document is read back
    from both, and compared: what was changed in the source meanwhile is copied again, up to three times in all.
    Interrupted at any point, it leaves whole documents, and is finished by calling it again.

    Args:
        source: Where the documents are.
        target: Where they go; not the same place, nor one inside the other.
        dry_run: Write nothing, take no lock, and tell what would be done.
        overwrite: Replace documents of the target that differ; otherwise they are conflicts.
        delete_source: Delete the documents in the source once every one of them is in the target; where there is
            any problem, none is deleted. One that goes from the target with it is put back, and the rest is kept.
        lock_timeout: Seconds to wait for the lock of a document, finite and not negative.
        jobs: How many documents at once, 1 or more.
        progress: Called from this thread with what is done at the moment, how many documents are, and of how many.

    Returns:
        What was done; ``complete`` says whether it was everything.

    Raises:
        LocationError: The two are the same place, or one is inside the other.
        LockTimeout: Somebody holds a lock in the source, of any document, and keeps it for the time of the timeout;
            nothing was copied. Where a backend does not show its locks, a locked document is an outcome instead.
        NotSupported: The source does not list its documents, or is to delete them and cannot.
        AccessDenied: The source may not be listed, or the target not be written.
        BackendUnavailable: A store cannot be reached. Later on, this ends the migration early (``stopped_by``), as
            `StorageFull` does.
        StoreError: The target refuses to be written at all, for another reason.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, not {jobs!r}")
    started = time.monotonic()
    run = _Run(source, target, dry_run, overwrite, delete_source, lock_timeout, jobs, progress)
    run.prepare()
    run.copy()
    if delete_source and not dry_run:
        run.delete()
    return run.result(time.monotonic() - started)


class _Run:
    """One migration.

    Args:
        source: As for `migrate`, like the others.
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        dry_run: bool,
        overwrite: bool,
        delete_source: bool,
        lock_timeout: float,
        jobs: int,
        progress: Callable[[Phase, int, int], None] | None,
    ) -> None:
        self._source = source
        self._target = target
        self._dry_run = dry_run
        self._overwrite = overwrite
        self._delete_source = delete_source
        self._lock_timeout = lock_timeout
        self._jobs = jobs
        self._progress = progress
        self._keys: list[str] = []
        self._known: frozenset[str] | None = None  # what the target lists at first
        self._reports: dict[str, DocumentReport] = {}
        self._unlocked: set[str] = set()
        self._deleted = 0
        self._stop = threading.Event()
        self._stopped_by: StoreError | None = None

    def prepare(self) -> None:
        """Everything that refuses the whole migration, and the list of what there is."""
        refuse_same_location(self._source, self._target)
        if not self._source.guarantees.lists:
            raise self._unable("the source does not list its documents")
        if self._delete_source and not self._source.guarantees.deletes:
            raise self._unable("the source does not delete documents")
        if self._dry_run:
            self._keys = self._listed()
        else:
            self._refuse_one_place()
        self._refuse_locks()
        if self._target.guarantees.lists:
            self._known = frozenset(self._target.list_keys())

    def copy(self) -> None:
        """Copies and checks until both stores have the same."""
        pending: list[str] = self._keys
        for last in (False,) * (_ROUNDS - 1) + (True,):
            for key, report in self._each("copying", self._copied, pending):
                if report is None:
                    self._reports.pop(key, None)
                else:
                    self._reports[key] = report
            if self._dry_run or self._stop.is_set():
                return
            pending = self._outdated(last)
            if not pending:
                return

    def delete(self) -> None:
        """Deletes in the source what is in the target, if all of it is."""
        if self._stop.is_set() or any(not report.arrived for report in self._reports.values()):
            return
        for key, report in self._each("deleting", self._gone, list(self._reports)):
            if report is None:
                self._deleted += 1
            else:
                self._reports[key] = report

    def result(self, seconds: float) -> Migration:
        """What was done.

        Args:
            seconds: How long it took.
        """
        return Migration(
            source=name_of(self._source),
            target=name_of(self._target),
            dry_run=self._dry_run,
            documents=tuple(self._reports[key] for key in sorted(self._reports)),
            deleted=self._deleted,
            unlocked=len(self._unlocked),
            stopped_by=self._stopped_by,
            seconds=seconds,
        )

    # Before anything is written

    def _unable(self, what: str) -> NotSupported:
        return NotSupported(what, location=name_of(self._source), hint="Another backend for the same place may do it.")

    def _refuse_one_place(self) -> None:
        with mark(self._target) as key:
            listed = self._source.list_keys()
            refuse_if_marked(self._source, self._target, key, listed)
        self._keys = [found for found in listed if not is_mark(found)]
        if self._delete_source and self._target.guarantees.lists:
            # A source that is full may be the reason to leave it.
            with suppress(StorageFull), mark(self._source) as key:
                refuse_if_inside(self._target, key, self._target.list_keys())

    def _listed(self) -> list[str]:
        return [key for key in self._source.list_keys() if not is_mark(key)]

    def _refuse_locks(self) -> None:
        # Looked at, not taken: a dry run writes nothing, and an account that may only read cannot take any.
        deadline = time.monotonic() + self._lock_timeout
        while True:
            try:
                held = [found for found in self._source.list_leftovers() if found.kind == "lock" and found.held]
            except NotSupported:
                return  # then each document's own lock is asked for as it is copied
            if not held:
                return
            if time.monotonic() >= deadline:
                raise self._locked(held)
            time.sleep(_LOCK_POLL)

    def _locked(self, held: list[Leftover]) -> LockTimeout:
        others = f", and {len(held) - 1} other locks" if len(held) > 2 else ", and another lock" if held[1:] else ""
        message = f"somebody holds this lock{others}; nothing was copied"
        return LockTimeout(message, holder=held[0].owner, key=held[0].name, location=name_of(self._source))

    # One document

    def _each(
        self, phase: Phase, work: Callable[[str], DocumentReport | None], keys: list[str]
    ) -> Iterable[tuple[str, DocumentReport | None]]:
        """Does the same to each document; those that a stop has left undone do not come out."""
        done = 0
        self._tell(phase, done, len(keys))

        def at(key: str) -> tuple[str, DocumentReport | None] | None:
            if self._stop.is_set():
                return None
            try:
                return key, work(key)
            except (BackendUnavailable, StorageFull) as error:
                # The next document would meet the same.
                self._stopped_by = self._stopped_by or error
                self._stop.set()
                return None
            except StoreError as error:
                if self._stop.is_set() and isinstance(error, LockTimeout):
                    return None  # it was told to wait no longer
                return key, _failed(key, error)

        for outcome in in_parallel(at, keys, self._jobs, self._stop):
            done += 1
            self._tell(phase, done, len(keys))
            if outcome is not None:
                yield outcome

    def _tell(self, phase: Phase, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(phase, done, total)

    def _copied(self, key: str) -> DocumentReport | None:
        with ExitStack() as locks:
            if not self._dry_run and self._lock(self._source, key, locks) is None:
                self._unlocked.add(key)
            try:
                snapshot = self._source.read_snapshot(key)
            except DocumentNotFound:
                return None  # deleted since it was listed
            held = None if self._dry_run else self._lock(self._target, key, locks)
            return self._placed(key, snapshot.data, held)

    def _lock(self, store: Store, key: str, locks: ExitStack) -> StoreLock | None:
        if store.guarantees.lock_scope == "none":
            return None
        try:
            lock = store.lock(key, timeout=self._lock_timeout, purpose=_PURPOSE, cancelled=self._stop.is_set)
        except (AccessDenied, StorageFull):
            # A site that is moved is often made read-only first, and that leaves nobody to be excluded; or it is full.
            if store is self._source and not self._delete_source:
                return None
            raise
        return locks.enter_context(lock)

    def _placed(self, key: str, data: bytes, held: StoreLock | None) -> DocumentReport:
        """Puts a document into the target, unless another one is there."""
        report = DocumentReport(key=key, outcome="copied", size=len(data), version=version_of(data))
        checks = held is not None or self._target.guarantees.conditional_write != "none"
        if self._known is not None and checks and key not in self._known and key not in self._reports:
            # As listed, it is not there: a read less for each document of a target that is empty at first.
            if self._dry_run:
                return report
            with suppress(VersionConflict):  # it is there, perhaps spelt another way
                _write(self._target, key, data, None, held)
                return report
        stored = _read(self._target, key)
        earlier = self._reports.get(key)
        if stored is not None and stored.data == data:
            report = msgspec.structs.replace(report, outcome="present")
        elif stored is not None and earlier is not None and earlier.version == version_of(stored.data):
            # What an earlier round of this migration has left there, and the source has changed since.
            report = msgspec.structs.replace(report, outcome="copied" if earlier.outcome == "copied" else "overwritten")
        elif stored is not None and not self._overwrite:
            return msgspec.structs.replace(
                report,
                outcome="conflict",
                reason="the target has another document there",
                hint="Compare the two; --overwrite (overwrite=True) takes the source's.",
            )
        elif stored is not None:
            report = msgspec.structs.replace(report, outcome="overwritten")
        # Whoever has put it there need not have flushed it, and it may be a link to the source's, which is about to go.
        if not self._dry_run and (report.outcome != "present" or self._delete_source):
            try:
                _write(self._target, key, data, stored, held)
            except VersionConflict:
                return _changed(report, "somebody else has written it in the target at the same time")
        return report

    # All documents

    def _outdated(self, last: bool) -> list[str]:
        """Compares both stores, and tells what has to be copied once more."""
        try:
            keys = self._listed()
            shown = set(self._target.list_keys()) if self._target.guarantees.lists else None
        except (BackendUnavailable, StorageFull) as error:
            self._stopped_by = error
            self._stop.set()
            return []
        again = [key for key in keys if key not in self._reports]
        arrived = [key for key, report in self._reports.items() if report.arrived]

        def checked(key: str) -> DocumentReport | None:
            return self._checked(key, shown)

        for key, report in self._each("checking", checked, arrived):
            if report is None:
                again.append(key)
            else:
                self._reports[key] = report
        if not last or self._stop.is_set():
            return again
        for key in again:
            self._reports[key] = _changed(DocumentReport(key=key, outcome="changed"), "it keeps changing in the source")
        return []

    def _checked(self, key: str, shown: set[str] | None) -> DocumentReport | None:
        """Compares a document once more; None where the source has another one by now."""
        report = self._reports[key]
        if shown is not None and key not in shown:
            return msgspec.structs.replace(
                report,
                outcome="conflict",
                reason="the target knows it only by another spelling of its name",
                hint="The target takes upper and lower case for the same: rename one of the two documents.",
            )
        before = _read(self._source, key)
        if before is None:
            return _changed(report, "it was deleted in the source after it was copied; the target has it")
        if version_of(before.data) != report.version:
            return None
        after = _read(self._target, key)
        if after is None or after.data != before.data:
            return _changed(report, "the target has not kept what was written, or somebody else has changed it there")
        return report

    def _gone(self, key: str) -> DocumentReport | None:
        """Deletes a document in the source; None where it is gone."""
        report = self._reports[key]
        with ExitStack() as locks:
            held = self._lock(self._source, key, locks)
            stored = _read(self._source, key)
            if stored is None:
                return None
            if version_of(stored.data) == report.version:
                with suppress(DocumentNotFound, VersionConflict):
                    delete_under(self._source, key, _condition(self._source, stored, held), held)
                    return self._undone(report, stored.data, held)
        return _changed(report, "it was changed in the source after it was copied, and not deleted")

    def _undone(self, report: DocumentReport, data: bytes, held: StoreLock | None) -> DocumentReport | None:
        """Looks once more into the target, and puts a document back that has gone from there as well."""
        key = report.key
        try:
            self._target.read_snapshot(key)
        except DocumentNotFound:
            # A folder may be in both places, through a link on a server, and neither location nor lock tells.
            self._stop.set()
            write_under(self._source, key, data, _condition(self._source, None, held), held)
            return msgspec.structs.replace(
                report,
                outcome="failed",
                reason="deleted in the source, it was gone from the target too, and was put back",
                hint="See whether its folder is a link to the other place; no more documents were deleted.",
            )
        except StoreError as error:
            # This one was there a moment ago. No more are deleted while nobody can look.
            self._stopped_by = self._stopped_by or error
            self._stop.set()
        return None


def _read(store: Store, key: str) -> Snapshot | None:
    try:
        return store.read_snapshot(key)
    except DocumentNotFound:
        return None


def _condition(store: Store, stored: Snapshot | None, held: StoreLock | None) -> Expectation:
    """What must be there; a store without locks and without conditions has to do with what was just read."""
    if held is None and store.guarantees.conditional_write == "none":
        return ANY
    return ABSENT if stored is None else stored.version


def _write(store: Store, key: str, data: bytes, stored: Snapshot | None, held: StoreLock | None) -> None:
    try:
        write_under(store, key, data, _condition(store, stored, held), held)
    except WriteOutcomeUnknown:
        # If it happened, writing the same once more changes nothing and makes it durable.
        now = _read(store, key)
        if now is not None and now.data != data and now != stored:
            raise
        write_under(store, key, data, _condition(store, now, held), held)


def _changed(report: DocumentReport, reason: str) -> DocumentReport:
    hint = "Stop the programs that write there, and run the migration again."
    return msgspec.structs.replace(report, outcome="changed", reason=reason, hint=hint)


def _failed(key: str, error: StoreError) -> DocumentReport:
    locked = isinstance(error, (LockTimeout, LockAlreadyHeld))
    where = f" (in {error.location})" if error.location else ""
    return DocumentReport(
        key=key,
        outcome="locked" if locked else "failed",
        reason=f"{error.message}{where}",
        hint=error.hint,
        code=error.code,
        holder=error.holder if isinstance(error, LockTimeout) else None,
    )
