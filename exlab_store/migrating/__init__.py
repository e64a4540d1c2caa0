"""Moves all documents from one store to another, whatever backends keep them.

A document is copied under its locks in both stores. At the end, each is read back from both, and compared. What is
in the target already is not copied again, so a migration that was interrupted is finished by running it again.
Nothing that differs is overwritten unless that was asked for, and nothing is deleted before everything is there.

Lock files, temporary files and files whose names are no keys are not documents: they stay where they are.
"""

from __future__ import annotations

from exlab_store.migrating.report import DocumentReport, Migration, Outcome, Phase
from exlab_store.migrating.running import migrate

__all__ = ["DocumentReport", "Migration", "Outcome", "Phase", "migrate"]
