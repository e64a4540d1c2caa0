"""Folders as fsspec lists them: the documents and folders in one, and all documents below."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exlab_store import FolderItem, Stat, is_key, keys_in
from exlab_store.backend import not_ignored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["items_in", "keys_below", "stat_of"]

_TIMES = ("modified", "mtime", "last_modified", "LastModified", "updated")


def stat_of(info: dict[str, Any]) -> Stat:
    """What fsspec knows of a document or a folder.

    Args:
        info: From ``info`` or ``ls``.
    """
    if info.get("type") == "directory":
        return Stat(0, kind="folder")
    return Stat(int(info.get("size") or 0), _modified(info))


def items_in(folder: str, path: str, found: list[dict[str, Any]], ignores: Callable[[str], bool]) -> list[FolderItem]:
    """The documents and folders of a folder, in order, without what is neither.

    Args:
        folder: The folder's key, or empty text for the store itself.
        path: Its path.
        found: From ``ls``; of a document, some file systems list the document itself.
        ignores: Tells which names are ignored.
    """
    by_name: dict[str, dict[str, Any]] = {}
    for info in found:
        whole = str(info.get("name", "")).rstrip("/")
        name = whole.rpartition("/")[2]
        if name and whole.strip("/") != path.strip("/"):
            by_name[name] = info
    above = f"{folder}/" if folder else ""
    names = not_ignored(list(by_name), ignores)
    documents = keys_in(folder, [name for name in names if by_name[name].get("type") == "file"])
    folders = [above + name for name in names if by_name[name].get("type") == "directory"]
    items = [FolderItem(key, "folder") for key in folders if is_key(key)]
    for key in documents:
        stat = stat_of(by_name[key[len(above) :]])
        items.append(FolderItem(key, "document", stat.size, stat.modified))
    return sorted(items, key=lambda item: item.key)


def keys_below(prefix: str, list_items: Callable[[str], list[FolderItem]]) -> Iterator[str]:
    """The documents at any depth.

    A circle of links ends, as a key has at most 1,024 bytes.

    Args:
        prefix: The folder's key, or empty text for the store itself.
        list_items: Lists one folder; a missing one is empty.
    """
    waiting = [prefix]
    while waiting:
        for item in list_items(waiting.pop()):
            if item.kind == "folder":
                waiting.append(item.key)
            else:
                yield item.key


def _modified(info: dict[str, Any]) -> float | None:
    for name in _TIMES:
        value = info.get(name)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None
