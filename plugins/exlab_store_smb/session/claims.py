"""The abilities that a server has shown; a store claims no other.

A server may grant a lock to two at once (Samba with ``locking = no``, servers that only pretend to lock), refuse to
replace a file, or take compounds apart. None of this is in the answer to NEGOTIATE. So each server and share is tried
once in a process, on files of its own that go again.

The server is known by the ServerGuid of NEGOTIATE, its name, its port and the share. The signature of the session
vouches for the ServerGuid [MS-SMB2 3.2.5.5, 3.3.5.2.4]; where nothing is signed nothing vouches for any answer. Some
servers have the same ServerGuid as others, so it does not suffice alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from exlab_store import Guarantees, NotSupported, temporary_name
from exlab_store_smb.session.interruptions import ends_when_interrupted
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.statuses import BUSY_SERVER, BUSY_TARGET, FULL, LOCKED, NAME_MISSING, REFUSED_REQUEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store_smb.session.link import Link
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Reply

__all__ = ["Claims", "Shown", "guarantees_of", "remember", "remembered", "show", "warn"]

_log = logging.getLogger("exlab_store_smb")

_DATA = b"exlab-store tries whether this server replaces files\n"


@dataclass(frozen=True, slots=True)
class Shown:
    """The abilities of a server. None stands for an ability that could not be tried yet.

    Attributes:
        replaces: A file is written, flushed, renamed over another, and read back, each request of the compound upon
            the one before it.
        flushes_folders: A folder is flushed.
        locks: A byte that one handle has locked is refused to another.
        keeps_readers_out: That byte cannot be read through another handle either.
        compounds: Compounds are carried out.
    """

    replaces: bool | None = None
    flushes_folders: bool | None = None
    locks: bool | None = None
    keeps_readers_out: bool | None = None
    compounds: bool = True

    @property
    def enough(self) -> bool:
        """Whether the server has shown all that the guarantees rest on, or that it cannot do it."""
        return None not in (self.replaces, self.flushes_folders, self.locks)


_known: dict[tuple[Any, ...], Shown] = {}


def remembered(link: Link) -> Shown:
    """The abilities that a server has shown to this process.

    Args:
        link: A connection to it.
    """
    return _known.get(link.identity, Shown())


def remember(link: Link, shown: Shown) -> None:
    """Keeps a server's abilities for the life of this process.

    Args:
        link: The connection.
        shown: The abilities.
    """
    _known[link.identity] = shown


def guarantees_of(shown: Shown) -> Guarantees:
    """The guarantees of a store. An ability that could not be tried counts as present, as the protocol demands it.

    Args:
        shown: The abilities of its server.
    """
    locks = shown.locks is not False
    replaces = shown.replaces is not False
    return Guarantees(
        atomic_replace=replaces,
        durable=replaces and shown.flushes_folders is not False,
        conditional_write="locked" if locks and replaces else "none",
        lock_scope="site" if locks else "none",
        lock_release="crash" if locks else "explicit",
        fenced=locks and replaces,
        lists=True,
        deletes=True,
        fresh="always",
        watch="pushed",
    )


def show(link: Link, directory: str, deadline: Deadline) -> Shown:
    """Tries the abilities of a server that are not known yet, in two round trips, and remembers them.

    Where compounds are refused, it is tried once more with one request after the other.

    Args:
        link: The connection; it takes no compounds from then on where the server does not.
        directory: Where the files may be made, a name on the share; nothing stays there.
        deadline: Until when.

    Raises:
        LinkLost: The connection has ended.
    """
    with ends_when_interrupted(link):
        shown = _tried(link, directory, deadline)
        if not shown.compounds:
            _log.warning("%s takes no compound requests: more round trips", link.connection.server_name)
            link.compounds = False
            shown = replace(_tried(link, directory, deadline), compounds=False)
    before = remembered(link)
    shown = Shown(
        _latest(shown.replaces, before.replaces),
        _latest(shown.flushes_folders, before.flushes_folders),
        _latest(shown.locks, before.locks),
        _latest(shown.keeps_readers_out, before.keeps_readers_out),
        compounds=link.compounds,
    )
    remember(link, shown)
    return shown


def _latest(now: bool | None, before: bool | None) -> bool | None:
    return before if now is None else now


def warn(host: str, shown: Shown) -> None:
    """Logs each guarantee that is not claimed, with its reason.

    Args:
        host: The server.
        shown: The abilities of it.
    """
    if shown.replaces is False:
        _log.warning("%s does not replace files as a document needs it: the store can be read only", host)
    if shown.flushes_folders is False:
        _log.warning("%s does not flush directories: writes are not claimed to be durable", host)
    if shown.locks is False:
        _log.warning("%s grants a lock to two at once: no locks are claimed, and no updates are made", host)


class Claims:
    """The claims of one store: a server shows them before a document is changed.

    Args:
        guarantees: What the store claims.
        shown: The server has shown it.
    """

    def __init__(self, guarantees: Guarantees, *, shown: bool) -> None:
        self._guarantees = guarantees
        self._shown = shown

    def ensure(self, link: Link, directory: str, deadline: Deadline) -> None:
        """Has the server show the abilities that are missing; no request where it has shown all.

        Where this account may make no file nothing can be shown: it cannot write there either.

        Args:
            link: The connection.
            directory: The folder on the share that is about to be changed, or has yet to be made.
            deadline: Until when.

        Raises:
            NotSupported: The server does not do what the store claims; nothing was changed.
            LinkLost: The connection has ended.
        """
        if self._shown:
            return
        shown = remembered(link)
        link.compounds = link.compounds and shown.compounds
        if not shown.enough:
            shown = show(link, _that_exists(link, directory, deadline), deadline)
        fewer = guarantees_of(shown).shortfalls(self._guarantees)
        if fewer:
            raise NotSupported(
                "the server does not do what this store claimed when it was opened, before the server could be tried: "
                + "; ".join(f"{each.guarantee} is {each.offered!r} there, and not {each.required!r}" for each in fewer),
                hint="Nothing was changed. Open the store again: it claims what the server does.",
            )
        self._shown = shown.enough


def _that_exists(link: Link, directory: str, deadline: Deadline) -> str:
    """The folder, or the nearest one above it that exists: the server is tried before a folder is made."""
    while directory:
        asked, _ = link.run([messages.open_to_ask(directory), messages.close()], deadline.half())
        if asked.ok:
            break
        directory = directory.rpartition("\\")[0]
    return directory


def _tried(link: Link, directory: str, deadline: Deadline) -> Shown:
    target, fresh, lock = (_beside(directory, temporary_name(name)) for name in ("target", "replace", "lock"))
    replacing = [
        messages.create_document(target),
        messages.close(),
        messages.create_document(fresh),
        messages.write(0, _DATA),
        messages.flush(),
        messages.rename(link.within_share(target)),
        messages.close(),
        messages.open_to_read_and_delete(target),
        messages.read(0, len(_DATA)),
        messages.close(),
    ]
    locking = [messages.create_lock_probe(lock), messages.lock_byte_0(wait=False), messages.write(0, b"-")]
    flushing = [messages.open_directory(directory), messages.flush(), messages.close()]
    replaced, locked, flushed = link.run_all([replacing, locking, flushing], deadline.half())
    refused = _refused_lock(link, lock, locked, deadline)
    if not replaced[-1].ok:
        _clear_up(link, (fresh, target), deadline)
    return Shown(
        replaces=_replaces(replaced),
        # Where files may be made, and the folder cannot be opened for it, it is not flushed.
        flushes_folders=flushed[1].ok if flushed[0].ok or replaced[0].ok else None,
        locks=_locks(locked, refused),
        keeps_readers_out=refused[4].status in LOCKED if refused and refused[3].ok else None,
        compounds=not (link.compounds and _is_taken_apart(replaced)),
    )


def _beside(directory: str, name: str) -> str:
    return f"{directory}\\{name}" if directory else name


def _is_taken_apart(replaced: Sequence[Reply]) -> bool:
    return replaced[0].ok and (
        any(reply.status in REFUSED_REQUEST for reply in replaced) or _replaces(replaced) is False
    )


def _replaces(replies: Sequence[Reply]) -> bool | None:
    made, _, created, written, flushed, renamed, _, opened, answered, _ = replies
    if not made.ok or not created.ok:
        return None  # no right to make files there, or no room: writing says so
    if renamed.ok and opened.ok and answered.ok and messages.read_bytes(answered) == _DATA:
        return written.ok and flushed.ok
    unlucky = FULL | BUSY_SERVER | BUSY_TARGET
    return None if any(reply.status in unlucky for reply in (written, flushed, renamed)) else False


def _refused_lock(link: Link, lock: str, locked: Sequence[Reply], deadline: Deadline) -> list[Reply]:
    """Asks for the lock through another handle, tries to read the byte, and closes the first handle."""
    created = locked[0]
    if not created.ok:
        return []
    first = messages.file_id_of(created)
    # Each part on its own: without compounds, what comes after a refusal would not be sent. With them, the order
    # between compounds is the server's to choose, and the first handle must not be closed before the others.
    asking = [messages.open_lock_probe(lock), messages.lock_byte_0(wait=False), messages.close()]
    reading = [messages.open_lock_probe(lock), messages.read(0, 1), messages.close()]
    if link.compounds:
        replies = link.run([*asking, *reading, messages.close(first)], deadline.half())
    else:
        replies = [
            *link.run(asking, deadline.half()),
            *link.run(reading, deadline.half()),
            *link.run([messages.close(first)], deadline.half()),
        ]
    # A server may give a compound up after a refusal.
    for opened, closed in ((replies[0], replies[2]), (replies[3], replies[5]), (created, replies[6])):
        if opened.ok and not closed.ok:
            link.run([messages.close(messages.file_id_of(opened))], deadline.half())
    return replies


def _locks(locked: Sequence[Reply], refused: Sequence[Reply]) -> bool | None:
    created, granted, _ = locked
    if not created.ok or not refused or not refused[0].ok:
        return None
    if not granted.ok:
        return None if granted.status in BUSY_SERVER else False
    again = refused[1].status
    if again in LOCKED:
        return True
    return None if again in BUSY_SERVER else False


def _clear_up(link: Link, paths: Sequence[str], deadline: Deadline) -> None:
    for path in paths:
        opened, closed = link.run([messages.open_to_discard(path), messages.close()], deadline.half())
        if opened.ok and not closed.ok:  # no compounds
            link.run([messages.close(messages.file_id_of(opened))], deadline.half())
        elif not opened.ok and opened.status != NAME_MISSING:
            _log.warning("a temporary file could not be removed; sweep does it later")
