"""A change of a document by a process on the server, from its first attempt to its end, lost answers included.

A write is one round trip: name, rights, data, fsync, checks, rename and the fsync of the folders are done there.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from exlab_store import (
    ABSENT,
    ANY,
    BackendUnavailable,
    DocumentNotFound,
    Expectation,
    LockLost,
    StoreError,
    Version,
    VersionConflict,
    WriteOutcomeUnknown,
    temporary_name,
    version_of,
)
from exlab_store.backend import ensure_expected
from exlab_store_sftp.connection_lost import ConnectionGone
from exlab_store_sftp.faults import link_hidden, lock_file_removed, of_program, root_is_gone
from exlab_store_sftp.folders import make_folders
from exlab_store_sftp.server_script import call
from exlab_store_sftp.time_limit import TimeLimit

if TYPE_CHECKING:
    from exlab_store_sftp.locking import SftpLock
    from exlab_store_sftp.paths import StoreFolder
    from exlab_store_sftp.server_shell import Running
    from exlab_store_sftp.session import Session

__all__ = ["ServerChanges"]

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_CLOCK: Final = 0.02  # seconds: a kernel stamps files with a clock that may be a tick behind the one that `date` reads


class _Attempt(NamedTuple):
    """A request whose answer did not come.

    Attributes:
        running: The process that was asked.
        sent: When, by this machine's clock.
        temporary: The path of its temporary file.
        document: The path of the document.
        folders: The document's folder, and those above it.
    """

    running: Running
    sent: float
    temporary: str
    document: str
    folders: list[str]


class ServerChanges:
    """Changes documents of one store.

    Args:
        session: The store's connections.
        folder: The store's folder.
    """

    def __init__(self, session: Session, folder: StoreFolder) -> None:
        self._session = session
        self._folder = folder

    async def write(
        self, key: str, data: bytes, expect: Expectation, held: SftpLock | None, *, release: bool = False
    ) -> Version:
        """Replaces a document, or makes it.

        Args:
            key: The document's key.
            data: The whole document.
            expect: As for the hook.
            held: The lock under which it happens: then the process that holds it does the write.
            release: The lock is given back behind the write.

        Raises:
            StoreError: Nothing was written; or `WriteOutcomeUnknown`.
        """
        deadline = TimeLimit(self._session.options.timeout)
        version = version_of(data)
        parent, name = self._folder.folder(key), key.rpartition("/")[2]
        above = self._folder.above(parent)
        while True:
            temporary, mark = temporary_name(name), os.urandom(16).hex()
            request = call(
                "write", parent, temporary, name, str(len(data)), mark, _lock_of(held), _wanted(expect), *above
            )
            attempt = b"%b%b\n%b\n" % (request, data, mark.encode())
            word, rest = await self._made(
                attempt, f"{parent}/{temporary}", key, version, held, deadline, release=release
            )
            if word == "folder":
                await self._make(parent, held, deadline)
                continue
            if word == "done":
                return version
            raise _refusal(word, rest, "write the document", expect, version)

    async def keep_copy(self, key: str, copy: str, data: bytes) -> bool:
        """Copies a document on the server, from one open file there.

        Args:
            key: The document's key.
            copy: The copy's key.
            data: What the document must hold.

        Returns:
            False, and nothing was done, where the document is a link.

        Raises:
            VersionConflict: The document is gone, or holds something else.
            StoreError: There is no copy; or `WriteOutcomeUnknown`.
        """
        deadline = TimeLimit(self._session.options.timeout)
        version = version_of(data)
        parent, name = self._folder.folder(copy), copy.rpartition("/")[2]
        temporary = temporary_name(name)
        request = call("keep", self._folder.path(key), parent, temporary, name, version, *self._folder.above(parent))
        word, rest = await self._made(request, f"{parent}/{temporary}", copy, version, None, deadline)
        if word == "differs":
            raise VersionConflict(expected=version)
        if word not in {"done", "link"}:
            raise _refusal(word, rest, "copy the document", ANY, version)
        return word == "done"

    async def delete(self, key: str, expect: Expectation, held: SftpLock | None) -> None:
        """Deletes a document.

        Args:
            key: The document's key.
            expect: As for the hook.
            held: The lock under which it happens.

        Raises:
            StoreError: Nothing was deleted; or `WriteOutcomeUnknown`.
        """
        deadline = TimeLimit(self._session.options.timeout)
        parent, name = self._folder.folder(key), key.rpartition("/")[2]
        request = call("delete", parent, name, _lock_of(held), _wanted(expect), *self._folder.above(parent))
        word, rest = await self._made(request, "", key, None, held, deadline)
        if word == "missing":
            await self._ensure_root(deadline)
            raise DocumentNotFound("there is no such document")
        if word != "done":
            raise _refusal(word, rest, "delete the document", expect, None)

    async def _made(
        self,
        request: bytes,
        temporary: str,
        key: str,
        version: Version | None,
        held: SftpLock | None,
        deadline: TimeLimit,
        *,
        release: bool = False,
    ) -> tuple[str, str]:
        """Sends a request until it is answered, or what became of it is known."""
        parent = self._folder.folder(key)
        folders = [parent, *self._folder.above(parent)]
        repeated = False
        while True:
            sent = time.monotonic()
            running: Running | None = None
            try:
                if held is not None:
                    running = held.shell.running
                    return await held.ask(request, deadline.half(), release=release)
                async with self._session.shell(deadline) as shell:
                    sent, running = time.monotonic(), shell.running
                    answer = await shell.ask(request, deadline.half())
                    return ("done", "") if repeated and answer[0] == "missing" else answer
            except ConnectionGone as lost:
                if running is None:
                    raise BackendUnavailable(str(lost)) from lost
                happened: bool | None = False
                if lost.asked:
                    attempt = _Attempt(running, sent, temporary, self._folder.path(key), folders)
                    happened = await self._outcome(attempt, version, deadline)
                if happened is None:
                    raise _unknown(str(lost), version) from lost
                if happened:
                    return "done", ""
                if held is not None:
                    raise LockLost("the connection that held the lock has ended; nothing was written") from lost
                if deadline.remaining() <= 0:
                    raise deadline.late("change the document") from lost
                repeated = True

    async def _outcome(self, attempt: _Attempt, version: Version | None, deadline: TimeLimit) -> bool | None:
        """Whether a request was carried out: the process that got it is ended first. None where nobody can tell."""
        while deadline.remaining() > 0:
            try:
                shell = await self._session.fresh_shell(deadline.half())
            except BackendUnavailable:
                # Not before a moment has passed: a server that refuses connections does so at once.
                if deadline.remaining() <= 0:
                    break
                await _pause(deadline)
                continue
            except StoreError:
                break
            try:
                word, rest = await shell.ask(
                    call("finish", *attempt.running, attempt.temporary, attempt.document, *attempt.folders), deadline
                )
            except ConnectionGone:
                continue
            self._session.give_back(shell)
            if word != "found":
                break
            self._session.settled(attempt.running)
            return _judged(rest.split(" "), attempt, version)
        return None

    async def _make(self, parent: str, held: SftpLock | None, deadline: TimeLimit) -> None:
        try:
            if held is not None:
                await make_folders(held, self._folder, parent, deadline.half())
            else:
                async with self._session.shell(deadline) as shell:
                    await make_folders(shell, self._folder, parent, deadline.half())
        except ConnectionGone as lost:
            raise BackendUnavailable(str(lost), exhausted=lost.silent) from lost

    async def _ensure_root(self, deadline: TimeLimit) -> None:
        if self._folder.create:
            return
        try:
            async with self._session.shell(deadline) as shell:
                word, _ = await shell.ask(call("there", self._folder.root), deadline)
        except ConnectionGone:
            return
        if word != "done":
            raise root_is_gone()


def _judged(found: list[str], attempt: _Attempt, version: Version | None) -> bool | None:
    """Whether a change happened, by what the server has found after the process had ended."""
    if len(found) != 5:
        return None
    now, document, folder, digest, temporary = found
    if temporary == "temporary":
        return False  # it has not been renamed, and nobody is left to do it
    if (version is not None and digest == version) or (version is None and document == "-"):
        return True
    try:
        # The server read its clock before it answered: the request reached it no earlier than this.
        reached = float(now) - (time.monotonic() - attempt.sent)
        changed = max(float(each) for each in (document, folder) if each != "-") if document == "-" else float(document)
    except ValueError:
        return None
    return False if changed < reached - _CLOCK else None


def _lock_of(held: SftpLock | None) -> str:
    return "" if held is None else held.path


def _wanted(expect: Expectation) -> str:
    if expect is ANY:
        return ""
    if expect is ABSENT:
        return "-"
    return expect if _HASH.fullmatch(expect) else "none of ours"


def _refusal(word: str, rest: str, action: str, expect: Expectation, version: Version | None) -> StoreError:
    """The error for an answer that says that nothing has happened, or that it is not durable."""
    if word == "differs":
        if rest == "unreadable":
            return of_program("Permission denied", "read the document that is to be replaced")
        try:
            ensure_expected(expect, None if rest == "-" else Version(rest))
        except StoreError as error:
            return error
    if word == "lost":
        return lock_file_removed()
    if word == "hidden":
        return link_hidden()
    if word == "unsettled":
        return _unknown(f"the folder could not be synchronised on the server: {rest}", version)
    return of_program(rest.partition(" ")[2] if word == "failed" else f"{word} {rest}", action)


def _unknown(reason: str, version: Version | None) -> WriteOutcomeUnknown:
    return WriteOutcomeUnknown(reason, intended=version)


async def _pause(deadline: TimeLimit) -> None:
    await asyncio.sleep(min(0.2, deadline.remaining()))
