"""A folder's entries with their sizes and times, in one round trip for the folders of a lab."""

from __future__ import annotations

import struct
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from smbprotocol.exceptions import SMBOSError

from exlab_store import BackendUnavailable
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.steps.backoff import Backoff
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.filetimes import seconds_since_1970
from exlab_store_smb.wire.statuses import NO_MORE_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exlab_store_smb.session.link import Link
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Reply

__all__ = ["FolderEntry", "ListingBudget", "OpenFolder", "list_folder"]

# Of 10,000 names (1 MB), Samba lists 64 KiB in 5 ms. Parsing what has come, while the server looks up the next, takes
# the client's part out of the time.
_AT_A_TIME: Final = 256 << 10
_IN_FLIGHT: Final = 4
# Two million documents, or 20 s of Samba's work. Without a bound, a server that makes names up fills the memory.
_MOST: Final = 256 << 20
_LIST: Final = "list the folder"

# FileFullDirectoryInformation [MS-FSCC 2.4.17]: next entry, last write, end of file, attributes, length of the name,
# and EaSize, which for a reparse point is its tag.
_FIXED: Final = struct.Struct("<I4x8x8xQ8xQ8xIII")
_DIRECTORY: Final = 0x10
_REPARSE_POINT: Final = 0x400
# A symbolic link and a junction lead elsewhere; other tags (deduplicated files, files of a cloud) do not.
_LINKS: Final = frozenset({0xA000000C, 0xA0000003})


class FolderEntry(NamedTuple):
    """What stands in a folder.

    Attributes:
        name: As the server has it.
        kind: ``file``, ``directory`` or ``link``.
        size: Its size in bytes.
        written: When it was last written, in units of 100 ns since 1601 by the server's clock.
    """

    name: str
    kind: str
    size: int
    written: int

    @property
    def modified(self) -> float:
        """When it was last written, in seconds since 1970 by the server's clock."""
        return seconds_since_1970(self.written)


class ListingBudget:
    """What one listing may take: of time, and of memory.

    Args:
        deadline: Until when.
        most: Bytes of answers, and of the keys made of them.
    """

    def __init__(self, deadline: Deadline, most: int = _MOST) -> None:
        self.deadline = deadline
        self._left = most

    def take(self, size: int) -> None:
        """Counts what a server has sent.

        Args:
            size: In bytes.

        Raises:
            BackendUnavailable: It was too much, or took too long.
        """
        self._left -= size
        if self._left < 0:
            raise BackendUnavailable(
                "the server's list of documents does not come to an end",
                exhausted=True,
                hint="List one folder at a time; look for a program that makes files without end.",
            )
        self.deadline.ensure_left(_LIST)


def list_folder(link: Link, path: str, listing: ListingBudget) -> list[FolderEntry]:
    """Lists one folder.

    Args:
        link: The connection.
        path: The folder's name on the share.
        listing: What it may take.

    Returns:
        Its entries without ``.`` and ``..``, in the server's order.

    Raises:
        SMBOSError: There is no such folder, or it may not be listed; its ``ntstatus`` says which.
        BackendUnavailable: It takes too long, or does not come to an end.
        LinkLost: The connection has ended, or the server's answer makes no sense.
    """
    return list(OpenFolder(link, path, listing).entries())


class OpenFolder:
    """A folder that the server has been asked to open and to list; `entries` waits for the answers.

    Args:
        link: The connection.
        path: The folder's name on the share.
        listing: What it may take.
        names: Which names the server is to send, with ``*`` for any part.

    Raises:
        LinkLost: It could not be asked.
    """

    def __init__(self, link: Link, path: str, listing: ListingBudget, names: str = "*") -> None:
        self._link = link
        self._names = names
        self._path = path
        self._listing = listing
        self._length = min(_AT_A_TIME, link.limits.listed)
        query = messages.query_directory(self._length, names=self._names)
        self._requests = link.start([messages.open_to_list(path), query, query], listing.deadline)

    def entries(self) -> Iterator[FolderEntry]:
        """Its entries; see `list_folder`, also for what is raised."""
        link, patience = self._link, self._listing.deadline.half()
        opened, first, second = [link.wait(request, patience) for request in self._requests]
        backoff = Backoff(patience)
        while not opened.ok and backoff.asks_again(opened.status):
            query = messages.query_directory(self._length, names=self._names)
            opened, first, second = link.run([messages.open_to_list(self._path), query, query], patience)
        if not opened.ok:
            raise SMBOSError(opened.status, self._path)
        file_id = messages.file_id_of(opened)
        under_way: deque[Any] = deque()
        try:
            # A server may give a compound up after an answer that is no success.
            if first.status in NO_MORE_ENTRIES:
                return
            if second.status in NO_MORE_ENTRIES:
                yield from self._parsed(first)
                return
            under_way += [first, second] if second.ok else [first]
            while True:
                while len(under_way) < _IN_FLIGHT:
                    query = messages.query_directory(self._length, file_id, self._names)
                    under_way += link.start([query], self._listing.deadline)
                answered = link.wait(under_way.popleft(), self._listing.deadline.half())
                if answered.status in NO_MORE_ENTRIES:
                    return
                yield from self._parsed(answered)
        finally:
            self._close(file_id)

    def abandon(self) -> None:
        """Closes the folder without a look at what is in it."""
        with suppress(LinkLost):
            opened, *_ = [self._link.wait(request, self._listing.deadline.half()) for request in self._requests]
            if opened.ok:
                self._close(messages.file_id_of(opened))

    def _close(self, file_id: bytes) -> None:
        if self._link.alive:  # nobody need wait for this
            self._link.start([messages.close(file_id)], self._listing.deadline)

    def _parsed(self, answered: Reply) -> Iterator[FolderEntry]:
        if not answered.ok:
            raise SMBOSError(answered.status, self._path)
        data = messages.output_of(answered)
        try:
            entries = list(_entries_in(data, self._length))
        except (struct.error, ValueError) as error:
            self._link.end()
            raise LinkLost(f"the server's list of a folder makes no sense: {error}", sent=True) from error
        self._listing.take(len(data))
        return iter(entries)


def _entries_in(data: bytes, asked: int) -> Iterator[FolderEntry]:
    offset, end = 0, len(data)
    if end > asked:
        raise ValueError("it is longer than what was asked for")
    unpack, fixed = _FIXED.unpack_from, _FIXED.size
    while True:
        following, written, size, attributes, length, tag = unpack(data, offset)
        start = offset + fixed
        # Entries that overlap would make more of an answer than it has bytes.
        if start + length > (offset + following if following else end):
            raise ValueError("an entry is cut off")
        # Half a surrogate pair, which a Windows server allows, makes no valid key; it must not make an error either.
        name = data[start : start + length].decode("utf-16-le", "surrogatepass")
        if not attributes & (_REPARSE_POINT | _DIRECTORY):
            yield FolderEntry(name, "file", size, written)
        elif attributes & _REPARSE_POINT and tag in _LINKS:
            yield FolderEntry(name, "link", size, written)
        elif name not in {".", ".."}:
            yield FolderEntry(name, "directory" if attributes & _DIRECTORY else "file", size, written)
        if not following:
            return
        offset += following
