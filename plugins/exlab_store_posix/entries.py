"""What is in a directory, with names that are spelt as keys are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from unicodedata import normalize

from exlab_store_posix.system import calls

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = ["Entry", "entries_of"]


class _Composed:
    """An entry whose name is in NFC.

    HFS+ decomposes names when it stores them, and APFS keeps those that other programs have decomposed. Both find a
    file by either spelling, and a key is always in NFC.
    """

    __slots__ = ("is_dir", "is_file", "is_symlink", "name", "stat")

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name = normalize("NFC", entry.name)
        self.is_dir = entry.is_dir
        self.is_file = entry.is_file
        self.is_symlink = entry.is_symlink
        self.stat = entry.stat


if TYPE_CHECKING:
    Entry = os.DirEntry[str] | _Composed

_DECOMPOSES = sys.platform == "darwin"


def entries_of(directory: str) -> Sequence[Entry]:
    """All that is in a directory, in no order.

    Args:
        directory: Its path.

    Raises:
        OSError: It cannot be listed.
    """
    with calls.scandir(directory) as entries:
        if not _DECOMPOSES:
            return list(entries)
        return [entry if entry.name.isascii() else _Composed(entry) for entry in entries]
