"""The hooks on an SMB share."""

from __future__ import annotations

import logging
import random
import time
import weakref
from collections import deque
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from exlab_store import (
    ABSENT,
    ANY,
    BackendUnavailable,
    DocumentExists,
    DocumentNotFound,
    Expectation,
    HeldLock,
    InvalidKey,
    Leftover,
    Location,
    LocationError,
    LockLost,
    LockOwner,
    LockTimeout,
    NotSupported,
    Snapshot,
    StoreError,
    Version,
    VersionConflict,
    WriteOutcomeUnknown,
    hookimpl,
    keys_in,
    lock_key,
    temporary_name,
    version_of,
    without_variables,
)
from exlab_store_smb.file_system import SmbFileSystem
from exlab_store_smb.session.dfs import Target, follow
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.session.logon import hint_for_sleeping_disks
from exlab_store_smb.session.opening import open_root
from exlab_store_smb.session.place import Place
from exlab_store_smb.session.reconnecting import Links
from exlab_store_smb.session.sharing import give_back
from exlab_store_smb.steps.directories import Directories
from exlab_store_smb.steps.foreign_deletions import find_out
from exlab_store_smb.steps.leftovers import Finder, is_temporary
from exlab_store_smb.steps.listing import Listing
from exlab_store_smb.steps.locking import Asker, SmbLock, Wish
from exlab_store_smb.steps.outcome import Attempt, bears_mark, fresh_mark, untouched_since
from exlab_store_smb.steps.reading import Reader
from exlab_store_smb.steps.refusals import marked_read_only
from exlab_store_smb.steps.replacing import Replacer
from exlab_store_smb.steps.room import Room
from exlab_store_smb.steps.walking import walk
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.statuses import CANNOT_DELETE, MISSING, NAME_MISSING, PATH_MISSING, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.opening import Opened
    from exlab_store_smb.wire.shapes import Reply

__all__ = ["SmbBackend", "open_backend"]

_T = TypeVar("_T")

_log = logging.getLogger("exlab_store_smb")


@without_variables
def open_backend(location: Location, options: Mapping[str, object]) -> SmbBackend:
    """Opens a folder of a share: connects, and asks the server what it can do.

    Args:
        location: ``smb://[[workgroup;]user[:password]@]server[:port]/share[/folder]``; the folder must exist, unless
            ``location.create`` is set.
        options: The fields of `SmbOptions`; what is not given is taken from fsspec's configuration.

    Raises:
        LocationError: There is no server or share in it, the share or the folder does not exist, or an option is
            not known or wrong.
        AccessDenied: The server refuses the account, or the account may not use the share.
        NotSupported: Encryption or signing was asked for and is not in force.
        BackendUnavailable: The server cannot be reached.
    """
    share, _, folder = location.path.strip("/").partition("/")
    if not location.host or not share:
        raise LocationError("an SMB location names a server and a share", hint="Write smb://user@server/share/folder.")
    if {".", ".."} & {share, *folder.split("/")}:
        raise LocationError("the path has '.' or '..' in it", hint="Write it as it is seen from the server.")
    given = {"port": location.port, "username": location.username, "password": location.secret}
    for name, value in given.items():
        if value is not None and name in options:
            raise LocationError(f"{name} is in the URL and among the options", hint="Give it once.")
    of_location = {name: value for name, value in given.items() if value is not None}

    def opened(target: Target) -> SmbBackend:
        return SmbBackend(
            SmbFileSystem(host=target.host, **of_location, **options),
            target.share,
            target.folder,
            create=location.create,
            ignores=location.ignores,
        )

    server = SmbFileSystem(host=location.host, **of_location, **options).options
    return follow(Target(location.host, share, folder.strip("/")), server, opened, Deadline(server.timeout))


def _nothing(_: str) -> bool:
    return False


class SmbBackend:
    """Documents as files below a folder of a share.

    Args:
        file_system: The server, with the options.
        share: The share's name.
        folder: ``/``-separated; empty text for the share itself.
        create: The folder may be missing; the first write makes it.
        ignores: Tells which names are ignored.
    """

    def __init__(
        self,
        file_system: SmbFileSystem,
        share: str,
        folder: str,
        *,
        create: bool = False,
        ignores: Callable[[str], bool] = _nothing,
    ) -> None:
        self._ignores = ignores
        self._file_system = file_system
        self._share = share
        self._root = folder.strip("/")
        self._create = create
        self._timeout = file_system.options.timeout
        self._links = Links(file_system.options, share)
        self._dropped = weakref.finalize(self, give_back, self._links)
        self._dropped.atexit = False  # the server frees what a process had that has ended
        self._reader = Reader()
        self._room = Room(trusted=file_system.options.one_round_trip)
        self._abandoned: deque[str] = deque()
        try:
            opened = self._open()
        except BaseException:
            self.close()
            raise
        self.guarantees = opened.guarantees
        claims, flush = opened.claims, opened.guarantees.durable
        self._directories = Directories(self._root, create=create, flush=flush)
        self._replacer = Replacer(self._directories, self._room, claims, flush=flush)
        self._asker = Asker(self._directories, claims, self._timeout)

    def close(self) -> None:
        """Frees the store's locks, and ends the connection if it is the last to use it; the server has 2 s for that."""
        self._dropped.detach()
        self._links.close(Deadline(min(2.0, self._timeout)))

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        """One compound of CREATE, READ and CLOSE; a replacement meanwhile does not touch the open file."""
        data = self._repeated(lambda link, deadline: self._read(link, key, deadline))
        if data is None:
            raise DocumentNotFound("there is no such document")
        return Snapshot(data)

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        """One compound: temporary file, data, flush, rename, and the flush of the folder."""
        self._ensure_replaces()

        def write(link: Link, place: Place, deadline: Deadline, attempt: Attempt) -> None:
            self._replacer.replace(link, place, data, deadline, attempt)

        self._change(key, data, expect, _ours(lock), write)
        return version_of(data)

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """One compound: the file opened to go when it is closed, and the flush of its folder."""

        def delete(link: Link, place: Place, deadline: Deadline, attempt: Attempt) -> None:
            opened = self._replacer.delete(link, place, deadline, attempt)
            if opened.status in MISSING:
                self._ensure_root(link, opened, deadline)
                raise DocumentNotFound("there is no such document")
            if opened.status == CANNOT_DELETE:
                raise marked_read_only("delete the document")
            if not opened.ok:
                raise translated(opened.status, "delete the document")

        self._change(key, None, expect, _ours(lock), delete)

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        """Takes byte 0 of ``<key>.lock``; the server queues those who wait. Missing folders are made."""
        lock, _ = self._lock(key, owner, timeout, cancelled, read=False)
        return lock

    @hookimpl
    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[HeldLock, Snapshot | None]:
        """One compound: what takes the lock, and what reads the document; the read counts if the lock was granted."""
        lock, data = self._lock(key, owner, timeout, cancelled, read=True)
        return lock, None if data is None else Snapshot(data)

    @hookimpl
    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        """One compound: what replaces the document, and what releases the lock; or the release is sent after it."""
        self._ensure_replaces()
        held = _ours(lock)

        def write(link: Link, place: Place, deadline: Deadline, attempt: Attempt) -> None:
            if held is not None:
                attempt.parting = held.parting()
            try:
                self._replacer.replace(link, place, data, deadline, attempt)
            finally:
                if held is not None and attempt.parted:
                    held.note_released()

        self._change(key, data, expect, held, write)
        lock.release()
        return version_of(data)

    def _lock(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool], *, read: bool
    ) -> tuple[SmbLock, bytes | None]:
        limit, deadline = Deadline(timeout), Deadline(timeout + self._timeout)
        again = False

        def given_up() -> bool:
            return self._links.closed or cancelled()

        while True:
            link = self._current(deadline.within(self._timeout))
            try:
                wish = Wish(key, self._place(link, lock_key(key)), owner, limit, deadline, given_up, self._links)
                if not read:
                    return self._asker.ask(link, wish)[0], None
                return self._lock_to_read(link, wish)
            except LockTimeout:
                self._links.ensure_open()
                raise
            except LinkLost as lost:
                # The lock is free again, if we had it: the next connection ends this one's session first.
                gives_up = cancelled()
                if gives_up or (again and limit.over) or deadline.over:
                    self._links.end_session()
                    if gives_up:
                        raise LockTimeout("the wait for the lock was cancelled") from lost
                    raise _unavailable(lost, exhausted=True) from lost
                again = True
                time.sleep(random.uniform(0.001, 0.05))  # noqa: S311  # no secret

    def _lock_to_read(self, link: Link, wish: Wish) -> tuple[SmbLock, bytes | None]:
        place = self._place(link, wish.key)
        length = self._reader.expected_size(place.path)
        reading = (messages.open_to_read(place.path), messages.read(0, length), messages.close())
        fits = length <= link.limits.read
        lock, replies = self._asker.ask(link, replace(wish, reading=reading) if fits else wish)
        try:
            deadline = Deadline(self._timeout)
            if replies:
                opened, answered, _ = replies
                if opened.status == NAME_MISSING:  # perhaps overlooked
                    opened, answered = self._reader.look_again(link, place.path, length, deadline)
                    if opened.status == NAME_MISSING:
                        return lock, None
                data = self._reader.whole(link, place.path, length, opened, answered)
                if data is not None:
                    return lock, data
            return lock, self._read(link, place, deadline)
        except LinkLost:
            lock.note_released()  # with its connection
            raise
        except BaseException:
            lock.release()
            raise

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        """Walks the folders; links are not followed, as they may form a circle."""

        def keys(link: Link, deadline: Deadline) -> list[str]:
            self._file_system.link = link
            found: list[str] = []
            try:
                for folder, entries in walk(link, self._root, prefix, Listing(deadline), self._ignores):
                    found += keys_in(folder, [entry.name for entry in entries if entry.kind == "file"])
            except FileNotFoundError as error:
                if not self._create and (not prefix or not self._exists(link, "", deadline)):
                    raise _root_is_gone() from error
            return found

        return self._repeated(keys)

    @hookimpl
    def list_leftovers(self, prefix: str) -> list[Leftover]:
        """Walks the folders; whether a lock is held is found out by reading, which takes no lock."""

        def find(link: Link, deadline: Deadline) -> list[Leftover]:
            if not self._create and not self._exists(link, "", deadline):
                raise _root_is_gone()

            def holder(name: str, within: Deadline) -> LockOwner | None:
                return self._asker.holder(link, self._place(link, name), within)

            return list(Finder(link, self._root, deadline, holder, self._ignores).find(prefix))

        return self._repeated(find)

    @hookimpl
    def remove_leftover(self, name: str) -> None:
        """One compound: the file opened to go when it is closed."""
        if not is_temporary(name):
            raise InvalidKey("this is not a temporary file", hint="Documents and lock files are not removed this way.")

        def remove(link: Link, deadline: Deadline) -> None:
            opened, closed = link.run(
                [messages.open_to_discard(self._place(link, name).path), messages.close()], deadline.half()
            )
            if opened.status in MISSING:
                self._ensure_root(link, opened, deadline)
                raise DocumentNotFound("the file is gone already")
            if not opened.ok or not closed.ok:
                raise translated(closed.status if opened.ok else opened.status, "remove the temporary file")

        self._repeated(remove)

    # One operation, from its first attempt to its end.

    def _repeated(self, call: Callable[[Link, Deadline], _T]) -> _T:
        """Repeats what may be repeated until it is done or the time is over."""
        deadline = Deadline(self._timeout)
        while True:
            with self._last_chance(deadline):
                link = self._current(deadline)
            try:
                return call(link, deadline)
            except LinkLost as lost:
                if deadline.over:
                    raise _unavailable(lost, exhausted=True) from lost
                time.sleep(min(deadline.remaining(), random.uniform(0.001, 0.05)))  # noqa: S311  # no secret

    def _change(
        self,
        key: str,
        data: bytes | None,
        expect: Expectation,
        held: SmbLock | None,
        call: Callable[[Link, Place, Deadline, Attempt], None],
    ) -> None:
        """Changes a document; what became of a change whose answer was lost is found out before anything is said.

        Args:
            key: The document's key.
            data: What it is to be; None for a deletion.
            expect: As for the hook.
            held: The lock under which it happens. The change goes over the lock's own connection: when that has
                ended, so has the lock, and the server cannot be reached this way any more. That is the fence.
            call: Does it.
        """
        deadline = Deadline(self._timeout)
        with nullcontext() if held is None else held.in_use(deadline):
            self._change_until(key, data, expect, held, call, deadline)

    def _change_until(
        self,
        key: str,
        data: bytes | None,
        expect: Expectation,
        held: SmbLock | None,
        call: Callable[[Link, Place, Deadline, Attempt], None],
        deadline: Deadline,
    ) -> None:
        while True:
            attempt = Attempt(mark=0 if held is None else fresh_mark(), held=held)
            if held is not None:
                held.ensure_held()
            with self._last_chance(deadline):
                link = self._current(deadline) if held is None else held.link
            place = self._place(link, key)
            try:
                if expect is not ANY:
                    self._check(link, place, expect, deadline)
                call(link, place, deadline, attempt)
            except LinkLost as lost:
                if self._happened(place, data, attempt, deadline, lost):
                    return
                if held is not None:
                    raise LockLost("the connection that held the lock has ended; nothing was written") from lost
                if deadline.over:
                    raise _unavailable(lost, exhausted=True) from lost
                time.sleep(min(deadline.remaining(), random.uniform(0.001, 0.05)))  # noqa: S311  # no secret
            except StoreError:
                raise
            except BaseException:
                # An interruption. What the server was asked for must not happen behind the back of whoever gets the
                # lock next, or writes next.
                if attempt.asked or attempt.temporary:
                    link.end()
                raise
            else:
                return
            finally:
                self._abandoned += filter(None, (attempt.temporary, attempt.moved))

    def _happened(
        self,
        place: Place,
        data: bytes | None,
        attempt: Attempt,
        deadline: Deadline,
        lost: LinkLost,
    ) -> bool:
        """Finds out whether a change was carried out whose answer was lost.

        Raises:
            WriteOutcomeUnknown: Nobody can tell.
        """
        if not attempt.asked:
            return False
        cause: Exception = lost
        while not deadline.over:
            try:
                happened = self._evidence(place, data, attempt, deadline)
            except (LinkLost, BackendUnavailable) as error:
                cause = error
                time.sleep(min(deadline.remaining(), random.uniform(0.005, 0.1)))  # noqa: S311  # no secret
            except StoreError as error:
                cause = error
                break
            else:
                if happened is None:
                    break
                return happened
        raise WriteOutcomeUnknown(
            f"the connection was lost before the server's answer: {lost}",
            intended=None if data is None else version_of(data),
        ) from cause

    def _evidence(
        self,
        place: Place,
        data: bytes | None,
        attempt: Attempt,
        deadline: Deadline,
    ) -> bool | None:
        """What the files say about a change that may have been asked for; None if they do not tell."""
        link = self._current(deadline)
        if attempt.temporary:
            stored = attempt.stored
            there = self._replacer.take_back(link, attempt, deadline)
            if there:
                return False
            attempt.stored = stored and there is False
        if attempt.stored:  # nothing but the rename can have taken the temporary file away
            return self._replacer.confirm(link, place, deadline) or None
        if untouched_since(link, place, attempt.begun, deadline):
            return False
        # Under a lock it is not enough that the document is as intended. The next holder may have made it so, as with
        # two who count to the same number, and then only one of them has counted. Without one, both happened at once.
        as_intended = (
            bears_mark(link, place, attempt.mark, deadline)
            if attempt.mark
            else self._read(link, place, deadline) == data
        )
        return (as_intended and self._replacer.confirm(link, place, deadline)) or None

    @contextmanager
    def _last_chance(self, deadline: Deadline) -> Generator[None]:
        """Keeps the store from repeating an operation that has had most of its time already."""
        try:
            yield
        except BackendUnavailable as error:
            error.exhausted = error.exhausted or deadline.remaining() < self._timeout / 2
            raise

    def _current(self, deadline: Deadline) -> Link:
        link = self._links.current(deadline)
        if self._abandoned:
            self._clear_up(link, deadline)
        return link

    def _clear_up(self, link: Link, deadline: Deadline) -> None:
        """Deletes the temporary files of attempts that came to nothing when the connection was lost."""
        with suppress(IndexError, LinkLost):
            while not deadline.over:
                path = self._abandoned.popleft()
                try:
                    self._replacer.discard(link, path, deadline)
                except LinkLost:
                    self._abandoned.append(path)
                    raise

    # What the operations are made of.

    def _place(self, link: Link, key: str) -> Place:
        folder = key.rpartition("/")[0]
        return Place(folder, link.path(self._root, folder), link.path(self._root, key))

    def _read(self, link: Link, key: str | Place, deadline: Deadline) -> bytes | None:
        place = self._place(link, key) if isinstance(key, str) else key
        found = self._reader.read(link, place.path, deadline)
        if isinstance(found, bytes):
            return found
        self._ensure_root(link, found, deadline)
        return None

    def _check(self, link: Link, place: Place, expect: Expectation, deadline: Deadline) -> None:
        data = self._read(link, place, deadline)
        found = None if data is None else version_of(data)
        if expect is ABSENT:
            if found is not None:
                raise DocumentExists(found=found)
        elif expect is not ANY and found != expect:
            raise VersionConflict(expected=expect, found=found)

    def _exists(self, link: Link, key: str, deadline: Deadline) -> bool:
        asked, _ = link.run([messages.open_to_ask(link.path(self._root, key)), messages.close()], deadline.half())
        return asked.ok

    def _ensure_root(self, link: Link, found: Reply, deadline: Deadline) -> None:
        """Tells a missing document from a store whose folder is gone."""
        if found.status in PATH_MISSING and not self._create and not self._exists(link, "", deadline):
            raise _root_is_gone()

    def _ensure_replaces(self) -> None:
        if not self.guarantees.atomic_replace:
            raise NotSupported("the server does not replace files as a document needs it", hint="Use another server.")

    def _ask_for_root(self, link: Link, deadline: Deadline) -> Opened:
        opened = open_root(link, link.path(self._root), deadline, create=self._create)
        find_out(link, link.path(self._root, temporary_name("store")), deadline)
        return opened

    def _open(self) -> Opened:
        # The first answer about a file may have to wait for the server's disks to wake, as connecting may.
        patience = max(self._timeout, self._file_system.options.connect_timeout)
        began, deadline = time.monotonic(), Deadline(patience)
        link = self._links.current(deadline)
        try:
            try:
                opened = self._ask_for_root(link, deadline if link.made > began else deadline.half())
            except LinkLost:
                if link.made > began or deadline.over:
                    raise
                # That of other stores, which may have ended long ago without a word.
                link = self._links.current(deadline)
                opened = self._ask_for_root(link, deadline)
        except LinkLost as lost:
            unavailable = _unavailable(lost, exhausted=deadline.over)
            if deadline.over:
                unavailable.hint = hint_for_sleeping_disks(patience)
            raise unavailable from lost
        self._links.compounds = opened.compounds
        if opened.free is not None:
            self._room.note(opened.free)
        return opened


def _ours(lock: HeldLock | None) -> SmbLock | None:
    if lock is None or isinstance(lock, SmbLock):
        return lock
    raise LockLost("the lock that was given is not one of this store")


def _unavailable(lost: LinkLost, *, exhausted: bool) -> BackendUnavailable:
    return BackendUnavailable(
        f"the connection to the server was lost: {lost}",
        exhausted=exhausted,
        hint="Look at the network and the server; trying again may succeed.",
    )


def _root_is_gone() -> BackendUnavailable:
    return BackendUnavailable("the store's folder is gone", hint="Restore it on the share, or find what removed it.")
