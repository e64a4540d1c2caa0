"""What goes along with a folder that is removed, and in which order: one rule for every backend that keeps files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.folder_errors import FolderNotEmpty
from exlab_store.keys import is_temporary_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["removal_order"]

_LOCK_SUFFIX = ".lock"


def removal_order(entries: Mapping[str, bool]) -> list[str]:
    """The names that go along with their folder, in the order in which they are removed.

    Lock files come first: whoever holds one may be writing a temporary file at this moment. A file that is made after
    the folder was listed is not among these, and keeps the folder.

    Args:
        entries: All that is in the folder: each name, and whether it is a file, and no folder or link.

    Returns:
        The lock files, and behind them the temporary files.

    Raises:
        FolderNotEmpty: There is something else in the folder.
    """
    others = [name for name, is_file in entries.items() if not is_file or not _goes_along(name)]
    if others:
        raise FolderNotEmpty("there is something in the folder", left=sorted(others))
    return sorted(entries, key=lambda name: not name.endswith(_LOCK_SUFFIX))


def _goes_along(name: str) -> bool:
    return name.endswith(_LOCK_SUFFIX) or is_temporary_name(name)
