"""The names of files that storage systems and desktops put beside documents; a list of keys leaves them out."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["IGNORED", "flaw_of_pattern", "ignoring", "not_ignored"]

IGNORED: Final = (
    # Recycle bins: Synology and Samba, QNAP, Windows, desktops.
    "#recycle",
    ".recycle",
    "@recycle",
    "$recycle.bin",
    ".trash*",
    # Snapshots, each a copy of the whole share: Synology, NetApp, ZFS, QNAP, snapper.
    "#snapshot",
    "~snapshot",
    ".snapshot",
    ".snapshots",
    "@recently-snapshot",
    ".zfs",
    # What is kept about files: Synology, QNAP, macOS, Windows.
    "@eadir",
    ".@__thumb",
    "._*",
    ".ds_store",
    ".appledouble",
    ".temporaryitems",
    ".spotlight-v100",
    ".fseventsd",
    "thumbs.db",
    "desktop.ini",
    "system volume information",
    # What file systems keep: ext4, NFS and FUSE for a file that was deleted while somebody had it open, and the
    # versions of a volume that Kubernetes mounts.
    "lost+found",
    ".nfs*",
    ".fuse_hidden*",
    "..data",
    "..data_tmp",
    "..20*",
)
"""The names that are ignored unless a site says otherwise; ``*`` at an end stands for anything, case does not count."""


@lru_cache(maxsize=64)
def ignoring(patterns: tuple[str, ...] = IGNORED) -> Callable[[str], bool]:
    """Tells which names of files and folders are ignored.

    Args:
        patterns: Names; ``*`` at the end stands for anything, and case does not count.
    """
    names = frozenset(pattern.lower() for pattern in patterns if not pattern.endswith("*"))
    beginnings = tuple(pattern[:-1].lower() for pattern in patterns if pattern.endswith("*"))

    firsts = frozenset(case for pattern in patterns for case in (pattern[0].lower(), pattern[0].upper()))

    def ignores(name: str) -> bool:
        if (first := name[:1]) not in firsts and first.isascii():
            return False  # half of the time of what follows, and nearly always so
        lower = name.lower()
        return lower in names or lower.startswith(beginnings)

    _harmless[ignores] = frozenset(map(chr, range(128))) - firsts
    return ignores


_harmless: WeakKeyDictionary[Callable[[str], bool], frozenset[str]] = WeakKeyDictionary()


def not_ignored(names: Iterable[str], ignores: Callable[[str], bool]) -> list[str]:
    """The names that are not ignored; for a folder of 20,000, in a third of the time that a call for each takes.

    Args:
        names: Of files, or of folders; none is empty.
        ignores: ``Location.ignores``, or another function that tells it of one name.
    """
    harmless = _harmless.get(ignores, frozenset())
    return [name for name in names if name[0] in harmless or not ignores(name)]


def flaw_of_pattern(pattern: object) -> str | None:
    """What is wrong with a pattern, or None.

    Args:
        pattern: What was given as one.
    """
    if not isinstance(pattern, str) or not pattern.strip("*"):
        return f"{pattern!r} is no name"
    if "/" in pattern or "*" in pattern[:-1]:
        return f"{pattern!r} is not the name of one file or folder, with '*' at its end or nowhere"
    return None
