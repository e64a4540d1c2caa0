"""Told of changes by the server, CHANGE_NOTIFY, in the store's folder and all below it [MS-SMB2 2.2.35, 3.3.5.19].

The folder is opened twice: once to be told of files, once of folders, as a notice does not say which of the two a name
is. The server remembers what happens between two requests on the same handle. A request that waits costs no credit:
its interim answer has brought that back.
"""

from __future__ import annotations

import struct
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from exlab_store import BackendUnavailable, NotSupported, ProcessBound, StoreError, is_key
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.session.share import root_is_gone, unavailable
from exlab_store_smb.session.sharing import give_back
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.statuses import MISSING, NOTIFY_ENUM_DIR, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.share import Share
    from exlab_store_smb.wire.shapes import Reply

__all__ = ["ShareSource", "begin_to_watch"]

_ROOM: Final = 65536  # bytes of names in one answer: what one credit pays for
_SLICE: Final = 0.05  # seconds from one look at the request about folders to the next
_GOODBYE: Final = 2.0
_ENTRY: Final = struct.Struct("<III")  # FILE_NOTIFY_INFORMATION [MS-FSCC 2.7.1]


def begin_to_watch(share: Share, prefix: str, ignores: Callable[[str], bool]) -> ShareSource:
    """Has the server tell of changes from now on.

    Args:
        share: The store's folder.
        prefix: The folder's key, or empty text.
        ignores: Tells which names are ignored.

    Raises:
        NotSupported: The server does not tell of changes.
        StoreError: The server cannot be reached, or refuses.
    """

    def begin(link: Link, deadline: Deadline) -> ShareSource:
        watched = _WatchedFolder(link)
        try:
            for about in (watched.files, watched.folders):
                about.arm(link, link.path(share.root), deadline)
        except (StoreError, LinkLost):
            watched.close(deadline.within(_GOODBYE))
            raise
        except BaseException:
            link.end()  # an interruption: the server may have opened a folder of which no code here knows
            raise
        return ShareSource(watched, prefix, ignores)

    return share.repeated(begin)


@dataclass
class _Notices:
    """One of the two handles, and the request that waits on it.

    Attributes:
        what: The completion filter.
        file_id: Of the handle; empty where it is not open.
        request: The request under way.
    """

    what: int
    file_id: bytes = b""
    request: Any = None

    def arm(self, link: Link, path: str, deadline: Deadline) -> None:
        """Opens the folder, and asks; returns when the server has begun to remember what happens.

        Args:
            link: The connection.
            path: The folder's name on the share.
            deadline: Until when.

        Raises:
            StoreError: The server refuses.
            LinkLost: The connection has ended.
        """
        (opened,) = link.run([messages.open_to_list(path)], deadline.half())
        if opened.status in MISSING:
            raise root_is_gone()
        if not opened.ok:
            raise translated(opened.status, "watch the folder")
        self.file_id = messages.file_id_of(opened)
        self.ask(link, deadline)
        reply = link.poll(self.request, Deadline(0.0))
        while reply is None and self.request.async_id is None:
            if deadline.over:
                link.end()
                raise LinkLost("the server did not answer in time", sent=True)
            reply = link.poll(self.request, deadline.within(0.001))
        if reply is None:  # it has come since, or the request waits
            reply = link.poll(self.request, Deadline(0.0))
        if reply is not None and not reply.ok and reply.status != NOTIFY_ENUM_DIR:
            raise _refused(reply)

    def ask(self, link: Link, deadline: Deadline) -> None:
        """Asks for the next notices.

        Args:
            link: The connection.
            deadline: Until when to wait for a credit.

        Raises:
            LinkLost: It could not be sent.
        """
        (self.request,) = link.start([messages.watch_folder(self.what, _ROOM, self.file_id)], deadline)


class _WatchedFolder:
    """Both handles on one connection. It does not refer to the source, so that it can be closed after that is gone."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.files = _Notices(messages.ABOUT_FILES)
        self.folders = _Notices(messages.ABOUT_FOLDERS)

    def holds_lock_on(self, link: Link) -> bool:
        """No lock is lost with the connection."""
        del link
        return False

    def close(self, deadline: Deadline) -> None:
        """Closes the handles, and with them ends the requests; nobody waits for the answers."""
        for each in (self.files, self.folders):
            file_id, each.file_id = each.file_id, b""
            if file_id and self.link.alive:
                with suppress(LinkLost):
                    self.link.start([messages.close(file_id)], deadline)


class ShareSource(ProcessBound):
    """What the server tells of the store's folder. `begin_to_watch` makes one.

    Args:
        watched: The open folder.
        prefix: The folder's key, or empty text.
        ignores: Tells which names are ignored.
    """

    complete = False
    """Of what happens in folders below, Samba tells only where SMB clients do it, and not programs on the server."""

    def __init__(self, watched: _WatchedFolder, prefix: str, ignores: Callable[[str], bool]) -> None:
        self._watched = watched
        self._below = f"{prefix}/" if prefix else ""
        self._ignores = ignores
        self._dropped = weakref.finalize(self, give_back, watched)
        self._dropped.atexit = False

    def wait(self, timeout: float, cancelled: Callable[[], bool]) -> list[str]:
        """Waits for the server's notices."""
        deadline = time.monotonic() + timeout
        watched = self._watched
        try:
            while True:
                remaining = deadline - time.monotonic()
                names = self._heard(watched.folders, Deadline(0.0), cancelled)
                if not names:
                    names = self._heard(watched.files, Deadline(min(remaining, _SLICE)), cancelled)
                if names or remaining <= 0 or cancelled():
                    return names
        except LinkLost as lost:
            raise unavailable(lost, exhausted=False) from lost

    def close(self) -> None:
        """Has the server forget the watch."""
        if self._dropped.detach() is not None:
            self._watched.close(Deadline(_GOODBYE))

    def _heard(self, about: _Notices, deadline: Deadline, cancelled: Callable[[], bool]) -> list[str]:
        link = self._watched.link
        reply = link.poll(about.request, deadline, cancelled)
        if reply is None:
            return []
        if not reply.ok and reply.status != NOTIFY_ENUM_DIR:
            raise BackendUnavailable(
                f"the server has ended the watch ({reply.status:#010x})", hint="Look at the server and its logs."
            )
        about.ask(link, Deadline(_GOODBYE))
        data = messages.output_of(reply) if reply.ok else b""
        if not data:  # more has happened than there was room for
            return [""]
        try:
            names = list(_names_in(data))
        except (struct.error, ValueError) as error:
            link.end()
            raise LinkLost(f"the server's notices make no sense: {error}", sent=True) from error
        return self._told(names, folders=about is self._watched.folders)

    def _told(self, names: list[str], *, folders: bool) -> list[str]:
        told: dict[str, None] = {}
        for name in names:
            if not is_key(name):
                continue
            above = folders and self._below.startswith(f"{name}/")
            below = name.startswith(self._below) and not any(map(self._ignores, name[len(self._below) :].split("/")))
            if above or below:
                told[f"{name}/" if folders else name] = None
        return list(told)


def _names_in(data: bytes) -> Iterator[str]:
    offset = 0
    while True:
        following, _, length = _ENTRY.unpack_from(data, offset)
        start = offset + _ENTRY.size
        if start + length > (offset + following if following else len(data)):
            raise ValueError("an entry is cut off")
        yield data[start : start + length].decode("utf-16-le", "surrogatepass").replace("\\", "/")
        if not following:
            return
        offset += following


def _refused(reply: Reply) -> NotSupported:
    return NotSupported(
        f"the server does not tell of changes ({reply.status:#010x})", hint="On Samba, see `change notify`."
    )
