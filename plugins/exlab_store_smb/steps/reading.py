"""A whole document from one open handle, in one round trip where its size is known."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

from exlab_store import BackendUnavailable, Snapshot
from exlab_store_smb.session.interruptions import ends_when_interrupted
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.steps.backoff import Backoff
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.filetimes import seconds_since_1970
from exlab_store_smb.wire.statuses import END_OF_FILE, MISSING, NAME_MISSING, translated

if TYPE_CHECKING:
    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.share import Share
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Reply

__all__ = ["LOOKS", "Reader"]

LOOKS = 2
"""How often a server is asked again, in one round trip, when it says that a document is missing.

Samba overlooks one that is being replaced at that instant: in 1 to 5 of 1,000 reads beside a busy writer.
"""

_AT_LEAST = 64 << 10
_ONE_ANSWER = 8 << 20  # an answer has at most 16 MiB [MS-SMB2 2.1], a READ at most what the server allows
_CHUNK = 1 << 20
_IN_FLIGHT = 8
_REMEMBERED = 1024
_LARGEST = 4 << 30  # what a server says of a document's size is not believed beyond this
_READ = "read the document"


class Reader:
    """Reads documents, and remembers how large they were.

    Args:
        share: The store's folder.
    """

    def __init__(self, share: Share) -> None:
        self._share = share
        self._sizes: dict[str, int] = {}

    def bytes_of(self, link: Link, document: DocumentPath, deadline: Deadline) -> bytes | None:
        """The bytes of what `snapshot_of` reads, or None."""
        found = self.snapshot_of(link, document, deadline)
        return None if found is None else found.data

    def snapshot_of(self, link: Link, document: DocumentPath, deadline: Deadline) -> Snapshot | None:
        """Reads a document, or tells that there is none.

        Args:
            link: The connection.
            document: Where the document is.
            deadline: Until when.

        Raises:
            StoreError: The server refuses, or the store's folder is gone.
            LinkLost: The connection has ended.
        """
        found = self.read(link, document.path, deadline)
        if isinstance(found, Snapshot):
            return found
        self._share.ensure_only_missing(link, found, deadline)
        return None

    def read(self, link: Link, path: str, deadline: Deadline) -> Snapshot | Reply:
        """Reads a document.

        Args:
            link: The connection.
            path: The file's name on the share.
            deadline: Until when.

        Returns:
            It, with its time; or, where there is no document, the server's answer to that effect.

        Raises:
            StoreError: The server refuses.
            LinkLost: The connection has ended.
        """
        expected = self.expected_size(path)
        backoff = Backoff(deadline)
        most = min(_ONE_ANSWER, link.limits.read)
        while expected <= most:
            deadline.ensure_left(_READ)
            opened, answered, _ = link.run(
                [messages.open_to_read(path), messages.read(0, expected), messages.close()], deadline.half()
            )
            if opened.status == NAME_MISSING:
                opened, answered = self.look_again(link, path, expected, deadline)
            if not opened.ok and backoff.asks_again(opened.status):
                continue
            if not opened.ok:
                return _missing(opened)
            data = _data(link, answered, expected)
            del answered  # it is as large as the data
            size = max(messages.size_of(opened), len(data))
            self._remember(path, size)
            if len(data) < min(expected, size):  # an answer may be short [MS-SMB2 3.3.5.12]
                break
            if _is_whole(data, size, opened, expected):
                return _snapshot(data, opened)
            expected = _rounded_up(size + 1)
            del data
        return self._in_chunks(link, path, deadline)

    def expected_size(self, path: str) -> int:
        """How many bytes to ask for, in the first round trip.

        Args:
            path: The file's name on the share.
        """
        # A credit pays for 64 KiB whether they are used or not, and a document that has grown a little still fits.
        return _rounded_up(self._sizes.get(path, 0) + 1)

    def whole(self, link: Link, path: str, length: int, opened: Reply, answered: Reply) -> Snapshot | None:
        """The document, where the answers to one CREATE and one READ have all of it.

        Args:
            link: The connection.
            path: The file's name on the share.
            length: How many bytes were asked for.
            opened: The answer to the CREATE.
            answered: The answer to the READ.

        Returns:
            None where the answers say anything else: then `read` finds out what.

        Raises:
            LinkLost: The server has answered with more than it was asked for.
        """
        if not opened.ok or not (answered.ok or answered.status == END_OF_FILE):
            return None
        data = _data(link, answered, length)
        size = max(messages.size_of(opened), len(data))
        self._remember(path, size)
        return _snapshot(data, opened) if _is_whole(data, size, opened, length) else None

    def look_again(self, link: Link, path: str, length: int, deadline: Deadline) -> tuple[Reply, Reply]:
        """What the server says of a document that it has not found; the first answer that is another one.

        Args:
            link: The connection.
            path: The file's name on the share.
            length: How many bytes to ask for.
            deadline: Until when.

        Returns:
            The answers to CREATE and READ.

        Raises:
            LinkLost: The connection has ended.
        """
        looks = link.run_all(
            [[messages.open_to_read(path), messages.read(0, length), messages.close()] for _ in range(LOOKS)],
            deadline.half(),
        )
        opened, answered, _ = next((look for look in looks if look[0].status != NAME_MISSING), looks[-1])
        return opened, answered

    def _in_chunks(self, link: Link, path: str, deadline: Deadline) -> Snapshot | Reply:
        """A large document: many READs on one handle, several of them under way at a time."""
        with ends_when_interrupted(link):  # some servers replace no document that anybody has open
            return self._in_chunks_of_one_handle(link, path, deadline)

    def _in_chunks_of_one_handle(self, link: Link, path: str, deadline: Deadline) -> Snapshot | Reply:
        (opened,) = link.run([messages.open_to_read(path)], deadline.half())
        for _ in range(LOOKS):
            if opened.status == NAME_MISSING:
                (opened,) = link.run([messages.open_to_read(path)], deadline.half())
        backoff = Backoff(deadline)
        while not opened.ok and backoff.asks_again(opened.status):
            (opened,) = link.run([messages.open_to_read(path)], deadline.half())
        if not opened.ok:
            return _missing(opened)
        size, file_id = messages.size_of(opened), messages.file_id_of(opened)
        try:
            data = self._read_all(link, file_id, size, deadline)
        finally:
            with suppress(LinkLost):
                link.run([messages.close(file_id)], deadline.half())
        self._remember(path, size)
        return _snapshot(data, opened)

    def _read_all(self, link: Link, file_id: bytes, size: int, deadline: Deadline) -> bytes:
        if size > _LARGEST:
            raise BackendUnavailable(
                f"the server says that the document has {size} bytes", hint="Look at the file on the server."
            )
        length = min(_CHUNK, link.limits.read)
        under_way: deque[tuple[int, Any]] = deque()
        # It hands out what was written into it without a copy. A list of chunks, joined, is twice the document.
        document = BytesIO()
        offset = 0
        while document.tell() < size:
            deadline.ensure_left(_READ)
            while offset < size and len(under_way) < _IN_FLIGHT:
                end = min(size, offset + length)
                (request,) = link.start([messages.read(offset, end - offset, file_id)], deadline)
                under_way.append((end, request))
                offset = end
            end, request = under_way.popleft()
            asked = end - document.tell()
            data = _data(link, link.wait(request, deadline.half()), asked)
            del request  # it keeps the answer
            if not data:
                raise BackendUnavailable(
                    "the document was changed in place while it was read", hint="Find out which program does that."
                )
            document.write(data)
            if len(data) < asked:  # an answer may be short [MS-SMB2 3.3.5.12]
                at = document.tell()
                (request,) = link.start([messages.read(at, end - at, file_id)], deadline)
                under_way.appendleft((end, request))
        return document.getvalue()

    def _remember(self, path: str, size: int) -> None:
        if len(self._sizes) >= _REMEMBERED:
            self._sizes.clear()
        self._sizes[path] = size


def _snapshot(data: bytes, opened: Reply) -> Snapshot:
    return Snapshot(data, modified=seconds_since_1970(messages.written_at(opened)))


def _is_whole(data: bytes, size: int, opened: Reply, length: int) -> bool:
    return len(data) == size and (size < length or size == messages.size_of(opened))


def _rounded_up(size: int) -> int:
    return -(-size // _AT_LEAST) * _AT_LEAST


def _missing(opened: Reply) -> Reply:
    if opened.status in MISSING:
        return opened
    raise translated(opened.status, _READ)


def _data(link: Link, answered: Reply, asked: int) -> bytes:
    if answered.status == END_OF_FILE:
        return b""
    if not answered.ok:
        raise translated(answered.status, _READ)
    data = messages.read_bytes(answered)
    if len(data) > asked:
        link.end()
        raise LinkLost("the server's answer is longer than what it was asked for", sent=True)
    return data
