"""Sizes, times and folders, without reading documents: by the hooks for them, or by others where there are none."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from exlab_store.errors import DocumentNotFound, InvalidKey, StoreError
from exlab_store.model import FolderItem, Stat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from exlab_store.hooks.retrying import RetryingHooks
    from exlab_store.key_pattern import KeyPattern
    from exlab_store.location import Location

__all__ = ["entries_of", "matching", "no_folder", "stat_of"]


def stat_of(calls: RetryingHooks, key: str, *, lists: bool) -> Stat:
    """What is known of a document or a folder; see `Store.stat`.

    Args:
        calls: The hooks of the store.
        key: A valid key.
        lists: The store can list its keys, which is how a folder is found where there is no hook.
    """
    if calls.stats:
        return calls.stat_document(key)
    try:
        snapshot = calls.read_snapshot(key)
    except (DocumentNotFound, InvalidKey):
        if lists and any(_entries(calls, key, stat=False)):
            return Stat(0, kind="folder")
        raise
    return Stat(len(snapshot), snapshot.modified, snapshot.version)


def entries_of(calls: RetryingHooks, key: str, *, stat: bool, location: Location | None) -> Iterator[FolderItem]:
    """The documents and folders directly in a folder; see `Store.list_folder`.

    Args:
        calls: The hooks of a store that lists.
        key: A valid key, or empty text.
        stat: With sizes and times.
        location: For errors that come later.
    """
    # No step of Python for each of 20,000 entries: `chain` takes them out of the batches.
    return chain.from_iterable(_located(_entries(calls, key, stat=stat), key, location))


def matching(calls: RetryingHooks, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
    """The documents and folders below a folder that fit a pattern, in order; see `Store.list_matching`.

    Args:
        calls: The hooks of a store that lists.
        prefix: A valid key, or empty text.
        pattern: What they must fit.
    """
    if calls.matches:
        found = calls.list_matching(prefix, pattern)
    else:
        below = len(prefix) + 1 if prefix else 0
        keys = calls.list_keys(prefix)
        folders = {folder for key in keys for folder in _folders_above(key, below)}
        found = [FolderItem(key) for key in keys if pattern.fits(key[below:])]
        found += [FolderItem(folder, "folder") for folder in folders if pattern.fits(folder[below:])]
    return sorted(found, key=lambda entry: entry.key)


def no_folder(key: str) -> InvalidKey:
    """The error for a document where a folder is needed.

    Args:
        key: Its key.
    """
    return InvalidKey("the key names a document, not a folder", key=key)


def _entries(calls: RetryingHooks, key: str, *, stat: bool) -> Iterator[list[FolderItem]]:
    return calls.list_folder(key, stat) if calls.lists_folders else _derived(calls, key, stat=stat)


def _derived(calls: RetryingHooks, folder: str, *, stat: bool) -> Iterator[list[FolderItem]]:
    """The entries, from all keys below the folder; lazily where each is looked at."""
    start = len(folder) + 1 if folder else 0
    documents: set[str] = set()
    folders: set[str] = set()
    for key in calls.list_keys(folder):
        name, below, _ = key[start:].partition("/")
        (folders if below else documents).add(key[:start] + name)
    entries = sorted(
        [*(FolderItem(each) for each in documents), *(FolderItem(each, "folder") for each in folders)],
        key=lambda entry: entry.key,
    )
    return ([each] for entry in entries for each in _with_stat(calls, entry)) if stat else iter([entries])


def _with_stat(calls: RetryingHooks, entry: FolderItem) -> Iterable[FolderItem]:
    if entry.kind == "folder":
        return [entry]
    try:
        found = stat_of(calls, entry.key, lists=False)
    except (DocumentNotFound, InvalidKey):  # it went, or became a folder, since it was listed
        return []
    except StoreError as error:
        raise error.at(entry.key, None) from error.__cause__
    return [FolderItem(entry.key, "document", found.size, found.modified)] if found.kind == "document" else []


def _located(batches: Iterator[list[FolderItem]], key: str, location: Location | None) -> Iterator[list[FolderItem]]:
    try:
        yield from batches
    except StoreError as error:
        raise error.at(key or None, location) from error.__cause__


def _folders_above(key: str, start: int) -> Iterator[str]:
    """``a/b/c`` from 0 as ``a``, ``a/b``."""
    end = key.find("/", start)
    while end >= 0:
        yield key[:end]
        end = key.find("/", end + 1)
