"""The rules for a document key: a relative, ``/``-separated name that every storage system can hold.

The rules are the intersection of what POSIX, SMB, Windows and object stores accept, so that a store can be
moved from one to another without renaming anything [design, section 6].
"""

from __future__ import annotations

import os
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from exlab_store.errors import InvalidKey
from exlab_store.first_imports import import_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_SEGMENT_BYTES",
    "check_key",
    "is_key",
    "is_temporary_name",
    "keys_in",
    "lock_key",
    "shortened",
    "temporary_name",
    "temporary_writer",
]

MAX_SEGMENT_BYTES = 255
MAX_KEY_BYTES = 1024

_LOCK_SUFFIX = ".lock"
_FORBIDDEN = frozenset('<>:"|?*\\')
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])[ ]*(?:\..*)?", re.IGNORECASE)
# With the random part, or without, as other programs of the format write it [§11.4]. No process has a number that
# begins with 0, as those of a series of pictures do.
_TEMPORARY = re.compile(r".+\.tmp\.([1-9][0-9]{0,9})(?:\.[0-9a-f]{16})?", re.DOTALL)
# Of other programs: tempfile.mkstemp(prefix=name + ".", suffix=".tmp"). Eight digits are a date.
_FOREIGN = re.compile(r".+\.(?![0-9]{8}\.)[a-z0-9_]{8}\.tmp", re.DOTALL)
_RESERVED = re.compile(r".*(?:\.lock|\.tmp\..*)", re.IGNORECASE | re.DOTALL)

# Most names of a folder are plain, and many are checked at a time: each alone takes 2.6 us, two thirds of a listing.
_AT_A_TIME: Final = 1024
_PLAIN: Final = bytes(set(range(0x20, 0x7F)) - set(b'<>:"|?*\\/')) + b"\n"
# Looked for one by one: a regular expression for all of them takes ten times as long.
_DOUBTFUL: Final = (
    *(".\n", " \n", ".lock\n", ".tmp.", ".tmp\n"),
    *("\n\n", "\nco", "\nprn", "\naux", "\nnul", "\nlpt"),
)


def _flaw_of_segment(segment: str) -> str | None:
    if not segment:
        return "has an empty segment"
    if segment in {".", ".."}:
        return f"has the segment {segment!r}"
    if _FORBIDDEN & set(segment):
        return "has one of the characters " + " ".join(sorted(_FORBIDDEN))
    if any(unicodedata.category(character) == "Cc" for character in segment):
        return "has a control character"
    if segment[-1] in ". ":
        return f"has a segment that ends in {'a dot' if segment[-1] == '.' else 'a space'}"
    if _DEVICE.fullmatch(segment):
        return f"has the segment {segment!r}, a device name on Windows"
    if _RESERVED.fullmatch(segment):
        return f"has the segment {segment!r}, a name that stores keep for themselves (*.lock, *.tmp.*)"
    if segment.endswith(".tmp") and _FOREIGN.fullmatch(segment):
        return f"has the segment {segment!r}, a name of other programs' temporary files (X.<8 characters>.tmp)"
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        return f"has a segment of more than {MAX_SEGMENT_BYTES} bytes"
    return None


def _flaw(key: str) -> str | None:
    if not key:
        return "is empty"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if key.startswith("/"):
        return "starts with '/'"
    if size > MAX_KEY_BYTES:
        return f"is longer than {MAX_KEY_BYTES} bytes"
    if not unicodedata.is_normalized("NFC", key):
        return "is not in Unicode normal form C"
    for segment in key.split("/"):
        flaw = _flaw_of_segment(segment)
        if flaw is not None:
            return flaw
    return None


def check_key(key: str) -> str:
    """Checks that a key can name a document in every storage system.

    Args:
        key: Segments separated by ``/``; 1 to 1,024 bytes of UTF-8 in Unicode normal form C, each segment
            1 to 255 bytes.

    Returns:
        The key, unchanged. A key that was checked once costs a dictionary look-up.

    Raises:
        InvalidKey: The reason is in the message.
    """
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise InvalidKey(f"a key is text, not {type(key).__name__}", hint="Give the key as str.")
    return _checked(key)


@lru_cache(maxsize=8192)
def _checked(key: str) -> str:
    flaw = _flaw(key)
    if flaw is None:
        return key
    raise InvalidKey(
        f"the key {flaw}",
        key=ascii(key)[1:-1][:200],
        hint="Keys are relative, '/'-separated names that are valid on every file system.",
    )


def is_key(name: str) -> bool:
    """Whether a name found in a storage system is a valid key: what is not, is not listed.

    Args:
        name: A ``/``-separated name.
    """
    return _flaw(name) is None


def keys_in(folder: str, names: Sequence[str]) -> list[str]:
    """The documents of a folder: of the names found in it, those that make valid keys, behind the folder's key.

    It says of each name what `is_key` says, and takes a tenth of its time for a folder of many.

    Args:
        folder: The folder's key, or empty text for the root of a store.
        names: What is in it, in any order.

    Returns:
        Keys, in the order of the names.
    """
    if not names:
        return []
    above = f"{folder}/" if folder else ""
    has_room = len(above) + MAX_SEGMENT_BYTES <= MAX_KEY_BYTES and (not folder or (folder.isascii() and is_key(folder)))
    keys: list[str] = []
    for start in range(0, len(names), _AT_A_TIME):
        some = names[start : start + _AT_A_TIME]
        plain = has_room and _are_plain(some)
        if not plain:  # a lock file stands beside each document that was locked once
            some = [name for name in some if not name.endswith(_LOCK_SUFFIX)]
            plain = has_room and _are_plain(some)
        found = [above + name for name in some] if above else some
        keys += found if plain else filter(is_key, found)
    return keys


def _are_plain(names: Sequence[str]) -> bool:
    """Whether all names are valid segments for certain: of ASCII, and far from what is refused."""
    text = "\n".join(names)
    if text.count("\n") != len(names) - 1 or not text.isascii() or text.encode().translate(None, _PLAIN):
        return False
    lines = f"\n{text.lower()}\n"
    return max(map(len, names)) <= MAX_SEGMENT_BYTES and not any(doubtful in lines for doubtful in _DOUBTFUL)


def shortened(segment: str, suffix: str, limit: int = MAX_SEGMENT_BYTES) -> str:
    """A segment with a suffix, within the 255 bytes that file systems allow for a name.

    Args:
        segment: A valid segment of a key.
        suffix: ASCII text to append, at least 18 bytes shorter than the limit.
        limit: How many bytes the result may have.

    Returns:
        ``segment + suffix`` where it fits; otherwise the segment is cut at a character and gets a digest of the
        whole, so that two long names that share a beginning stay apart.
    """
    if len(segment) * 4 + len(suffix) <= limit:  # at most four bytes a character
        return segment + suffix
    encoded = segment.encode()
    if len(encoded) + len(suffix) <= limit:
        return segment + suffix
    import_whole("hashlib")  # 3 ms to import, and few names are that long
    import hashlib

    mark = "~" + hashlib.sha256(encoded).hexdigest()[:16]
    room = limit - len(suffix) - len(mark)
    return encoded[:room].decode(errors="ignore") + mark + suffix


def temporary_name(name: str) -> str:
    """The name of a new temporary file beside a document, which no other writer uses: ``<name>.tmp.<pid>.<16 hex>``.

    The process identifier alone is not enough: two hosts or two containers have the same one.

    Args:
        name: The document's name, one segment; it is shortened where the suffix would overflow 255 bytes.
    """
    return shortened(name, f".tmp.{os.getpid()}.{os.urandom(8).hex()}")


def temporary_writer(name: str) -> int | None:
    """The process that made a temporary file, by its name; None for a name that is not one of a temporary file.

    Args:
        name: One segment.
    """
    found = _TEMPORARY.fullmatch(name)
    return None if found is None else int(found[1])


def is_temporary_name(name: str) -> bool:
    """Whether a name is one of an unfinished document, of this package's writers or of another program's.

    Others are ``X.tmp.<pid>`` without the random part, and what ``tempfile.mkstemp(prefix="X.", suffix=".tmp")`` makes.

    Args:
        name: One segment.
    """
    return _TEMPORARY.fullmatch(name) is not None or _FOREIGN.fullmatch(name) is not None


@lru_cache(maxsize=8192)
def lock_key(key: str) -> str:
    """The name of a document's lock file: ``<key>.lock``, beside the document.

    Every backend that keeps its locks in files uses this name, and so do other programs with
    ``filelock.FileLock(path + ".lock")`` [§11.4]. A document name of more than 250 bytes leaves no room for the
    suffix; its lock has a shortened name, which is the same for every backend.

    Args:
        key: A valid key.
    """
    folder, slash, name = key.rpartition("/")
    return folder + slash + shortened(name, _LOCK_SUFFIX)
