"""A folder's entries with their sizes and times, in one round trip for the folders of a lab."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smbprotocol.exceptions import SMBOSError

from exlab_store_smb import messages
from exlab_store_smb.filetimes import seconds_since_1970
from exlab_store_smb.link import LinkLost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exlab_store_smb.deadline import Deadline
    from exlab_store_smb.link import Link
    from exlab_store_smb.messages import Reply

__all__ = ["Entry", "list_folder"]

_END: Final = frozenset({0x80000006, 0xC000000F})  # NO_MORE_FILES, NO_SUCH_FILE
# FileFullDirectoryInformation [MS-FSCC 2.4.17]: next entry, last write, end of file, attributes, length of the name,
# and EaSize, which for a reparse point is its tag.
_FIXED: Final = struct.Struct("<I4x8x8xQ8xQ8xIII")
_DIRECTORY: Final = 0x10
_REPARSE_POINT: Final = 0x400
# A symbolic link and a junction lead elsewhere; other tags (deduplicated files, files of a cloud) do not.
_LINKS: Final = frozenset({0xA000000C, 0xA0000003})


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in a folder.

    Attributes:
        name: As the server has it.
        kind: ``file``, ``directory`` or ``link``.
        size: Bytes.
        modified: When it was last written, in seconds since 1970 by the server's clock.
    """

    name: str
    kind: str
    size: int
    modified: float


def list_folder(link: Link, path: str, deadline: Deadline) -> list[Entry]:
    """Lists one folder.

    Args:
        link: The connection.
        path: The folder's name on the share.
        deadline: Until when.

    Returns:
        Its entries without ``.`` and ``..``, in the server's order.

    Raises:
        SMBOSError: There is no such folder, or it may not be listed; its ``ntstatus`` says which.
        LinkLost: The connection has ended, or the server's answer makes no sense.
    """
    opened, first, second, closed = link.run(
        [messages.open_to_list(path), messages.query_directory(), messages.query_directory(), messages.close()],
        deadline.half(),
    )
    if not opened.ok:
        raise SMBOSError(opened.status, path)
    if not closed.ok:  # a server may give a compound up after an answer that is no success
        link.run([messages.close(messages.file_id_of(opened))], deadline.half())
    if first.status in _END:
        return []  # not even the folder itself, as at the root of some servers
    entries = _entries(link, first, path)
    if second.status in _END:
        return entries
    return _in_rounds(link, path, deadline)


def _in_rounds(link: Link, path: str, deadline: Deadline) -> list[Entry]:
    """A large folder: from its beginning once more, on a handle that stays open."""
    (opened,) = link.run([messages.open_to_list(path)], deadline.half())
    if not opened.ok:
        raise SMBOSError(opened.status, path)
    file_id = messages.file_id_of(opened)
    entries: list[Entry] = []
    try:
        while True:
            first, second = link.run([messages.query_directory(file_id), messages.query_directory()], deadline.half())
            for answered in (first, second) if second.ok else (first,):
                if answered.status in _END:
                    return entries
                entries += _entries(link, answered, path)
    finally:
        with suppress(LinkLost):
            link.run([messages.close(file_id)], deadline.half())


def _entries(link: Link, answered: Reply, path: str) -> list[Entry]:
    if not answered.ok:
        raise SMBOSError(answered.status, path)
    try:
        return list(_parsed(messages.output_of(answered)))
    except (struct.error, ValueError) as error:
        link.end()
        raise LinkLost(f"the server's list of a folder makes no sense: {error}", sent=True) from error


def _parsed(data: bytes) -> Iterator[Entry]:
    offset = 0
    while True:
        following, written, size, attributes, length, tag = _FIXED.unpack_from(data, offset)
        start = offset + _FIXED.size
        if start + length > len(data) or (following and following < _FIXED.size):
            raise ValueError("an entry is cut off")
        # Half a surrogate pair, which a Windows server allows, makes no valid key; it must not make an error either.
        name = data[start : start + length].decode("utf-16-le", errors="surrogatepass")
        if name not in {".", ".."}:
            is_link = attributes & _REPARSE_POINT and tag in _LINKS
            kind = "link" if is_link else "directory" if attributes & _DIRECTORY else "file"
            yield Entry(name, kind, size, seconds_since_1970(written))
        if not following:
            return
        offset += following
