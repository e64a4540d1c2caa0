"""Names of files in a process whose locale is not UTF-8.

Keys are stored as UTF-8, by every other program. Here ``Büro.json`` would get other bytes, or none at all: another
document, with another lock. Python encodes names as UTF-8 in the C locale too; what is left are locales of the last
century, and ``PYTHONUTF8=0``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from exlab_store import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["base_of", "checked", "root_of"]


class _AsciiBase(str):
    """A directory in which names of ASCII are the same in every encoding, and others are refused."""

    __slots__ = ()

    def __add__(self, name: str) -> str:
        _ensure_ascii(name)
        return super().__add__(name)


def _ensure_ascii(name: str) -> None:
    if not name.isascii():
        raise NotSupported(
            f"this process encodes names of files as {sys.getfilesystemencoding()}, and not as UTF-8",
            hint="Set PYTHONUTF8=1, or a locale of UTF-8 such as LC_ALL=C.UTF-8.",
        )


if sys.platform == "win32":
    from exlab_store_posix.windows.paths import NativeBase, verbatim

    def root_of(path: str) -> str:
        """A directory as the system is told of it."""
        return verbatim(path)

    def base_of(directory: str) -> str:
        """What is put before a key."""
        return NativeBase(f"{directory}\\")
else:

    def root_of(path: str) -> str:
        """A directory as the system is told of it, without a slash at its end.

        Args:
            path: Absolute.
        """
        return path.rstrip("/")

    def base_of(directory: str) -> str:
        """What is put before a key: the directory with a slash at its end.

        Args:
            directory: Without it.
        """
        return f"{directory}/" if _is_utf8() else _AsciiBase(f"{directory}/")


def checked(ignores: Callable[[str], bool]) -> Callable[[str], bool]:
    """The question whether a name in a directory is ignored, which here is also the place to refuse one.

    Args:
        ignores: Tells which names are ignored.
    """
    if _is_utf8():
        return ignores

    def ignores_ascii(name: str) -> bool:
        if ignores(name):
            return True
        _ensure_ascii(name)
        return False

    return ignores_ascii


def _is_utf8() -> bool:
    return sys.getfilesystemencoding().lower().replace("-", "") == "utf8"
