"""Kinds of documents as type checkers see them: mypy and pyright check this file, and tests import it."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from exlab_store import StoreError
from exlab_store.documents import DocumentKind, VersionedDocument

if TYPE_CHECKING:
    from exlab_store import Store, StorePath


class Frozen(VersionedDocument, frozen=True, kw_only=True):
    schema_version: str = "1.0"
    count: int = 0


class Mutable(VersionedDocument, kw_only=True):
    schema_version: str = "1.0"
    count: int = 0


class MoreFrozen(Frozen, frozen=True, kw_only=True):
    label: str = ""


class MoreMutable(Mutable, kw_only=True):
    label: str = ""


FROZEN = DocumentKind(Frozen, "1.0")
MUTABLE = DocumentKind(Mutable, "1.0")


def counted(stored: Mutable) -> Mutable:
    stored.count += 1
    return stored


def counted_or_new(stored: Mutable | None) -> Mutable:
    return counted(stored or Mutable())


def frozen_stays(document: Frozen) -> None:
    document.count = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # it is frozen


def a_change_that_does_not_expect_none(path: StorePath) -> None:
    MUTABLE.update(path, counted)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


def a_change_that_need_not(path: StorePath) -> None:
    assert_type(MUTABLE.update(path, counted, missing="raise", on_corrupt="raise"), Mutable)
    assert_type(MUTABLE.update(path, counted_or_new, missing="raise"), Mutable)
    assert_type(MUTABLE.update(path, counted_or_new), Mutable)


def each_of(store: Store, keys: list[str]) -> None:
    for _, found in MUTABLE.read_many(store, keys):
        assert_type(found, Mutable | StoreError | None)
