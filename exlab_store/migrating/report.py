"""The report of a migration: the outcome of each document, and the totals."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

# The fields' types are evaluated by msgspec and by the documentation.
from exlab_store.errors import StoreError  # noqa: TC001
from exlab_store.model import LockOwner, Version  # noqa: TC001

__all__ = ["PROBLEMS", "DocumentReport", "Migration", "Outcome", "Phase"]

Outcome: TypeAlias = Literal["copied", "overwritten", "present", "conflict", "locked", "changed", "failed"]
"""What became of a document.

``copied``, ``overwritten`` and ``present`` (it was there before) mean that the target has it as the source has it.
``conflict``: the target has another document there; ``locked``: somebody holds its lock; ``changed``: somebody keeps
changing it; ``failed``: a storage refuses it.
"""

Phase: TypeAlias = Literal["copying", "checking", "deleting"]
"""What a migration is at."""

PROBLEMS: Final = frozenset[Outcome]({"conflict", "locked", "changed", "failed"})


class DocumentReport(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What became of one document.

    Attributes:
        key: The document.
        outcome: See `Outcome`; of a dry run, what would become of it.
        size: In bytes, where it could be read.
        version: The SHA-256 of its bytes, the same in both stores, where it could be read.
        reason: What the problem is, where there is one: a clause.
        hint: What to do about it.
        code: The error's code, where it was one.
        holder: Who holds the lock, where that is known.
    """

    key: str
    outcome: Outcome
    size: int | None = None
    version: Version | None = None
    reason: str | None = None
    hint: str | None = None
    code: str | None = None
    holder: LockOwner | None = None

    @property
    def arrived(self) -> bool:
        """Whether the target has the document as the source has it."""
        return self.outcome not in PROBLEMS


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """What a migration has done.

    Attributes:
        source: The source's location, without secrets.
        target: The target's.
        dry_run: Nothing was written: the outcomes are what would be.
        documents: Of each document what became of it, in the order of their keys.
        deleted: How many documents were deleted in the source.
        unlocked: How many documents were copied without their lock in the source: it has none, or this account may not
            take it.
        stopped_by: The error that ended it early; what was not reached is not among the documents.
        seconds: How long it took.
    """

    source: str
    target: str
    dry_run: bool
    documents: tuple[DocumentReport, ...]
    deleted: int
    unlocked: int
    stopped_by: StoreError | None
    seconds: float

    @property
    def problems(self) -> tuple[DocumentReport, ...]:
        """The documents that the target lacks or has otherwise, and those that could not be deleted in the source."""
        return tuple(document for document in self.documents if not document.arrived)

    @property
    def complete(self) -> bool:
        """Whether all was done that was asked for; of a dry run, whether it would be."""
        return self.stopped_by is None and not self.problems

    @property
    def copied_bytes(self) -> int:
        """How much was written, or would be."""
        return sum(document.size or 0 for document in self.documents if document.outcome in {"copied", "overwritten"})

    def count(self, outcome: Outcome) -> int:
        """How many documents had this outcome.

        Args:
            outcome: See `Outcome`.
        """
        return sum(document.outcome == outcome for document in self.documents)
