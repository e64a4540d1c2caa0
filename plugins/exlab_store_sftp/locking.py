"""The lock of a document: flock on ``<name>.lock``, held by a process on the server.

It is the lock of filelock, and of the posix backend on the server itself; both exclude each other. It ends with the
process, and the process with the connection. The process that holds the lock is the one that writes under it, so there
is nothing that could be written after the lock was lost.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exlab_store import (
    BackendUnavailable,
    LockLost,
    LockOwner,
    LockTimeout,
    ProcessBound,
    lock_key,
)
from exlab_store.backend import ensure_folder_wanted, owner_in_record
from exlab_store_sftp.connection_lost import ConnectionGone
from exlab_store_sftp.event_loop import run, start
from exlab_store_sftp.faults import lock_file_closed, lock_file_removed, of_program
from exlab_store_sftp.folders import make_folders
from exlab_store_sftp.server_script import call
from exlab_store_sftp.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from typing import Self

    from exlab_store_sftp.paths import StoreFolder
    from exlab_store_sftp.server_shell import ServerShell
    from exlab_store_sftp.session import Session

__all__ = ["ServerLocks", "SftpLock", "owner_in"]

_ONE_WAIT: Final = 0.05  # seconds for which the server waits before this side looks whether the wait was cancelled
_FRESH: Final = 0.1  # seconds for which an answer about the lock is taken to be true
_GOODBYE: Final = 5.0  # seconds that a release may take before the process on the server is left to itself

_encode = msgspec.json.Encoder().encode


class SftpLock(ProcessBound):
    """A held lock. `ServerLocks` makes one.

    Args:
        key: The document's key.
        owner: Who holds it.
        path: The lock file's.
        shell: The process that holds it.
        session: Of the store.
    """

    __slots__ = ("_answered", "_lost", "_released", "_session", "_turn", "key", "owner", "path", "shell")

    def __init__(self, key: str, owner: LockOwner, path: str, shell: ServerShell, session: Session) -> None:
        self.key = key
        self.owner = owner
        self.path = path
        self.shell = shell
        self._session = session
        self._turn = asyncio.Lock()  # threads may share a lock, and the process is asked one thing at a time
        self._released = False
        self._lost = False
        self._answered = time.monotonic()

    async def ask(self, request: bytes, deadline: TimeLimit, *, release: bool = False) -> tuple[str, str]:
        """Has the process that holds the lock do something.

        Args:
            request: See `ServerShell.ask`.
            deadline: Until when.
            release: The lock is given back behind it.

        Raises:
            LockLost: The lock is not held any more.
            BackendUnavailable: Another thread uses the lock until the deadline.
            ConnectionGone: The process has not answered.
        """
        async with self._in_turn(deadline):
            if self._released:
                raise LockLost("the lock was released")
            if not self.shell.alive:
                raise LockLost("the connection that held the lock has ended")
            try:
                if not release:
                    answer = await self.shell.ask(request, deadline)
                else:
                    answer, (released, _) = await self.shell.ask_lines(request + call("release_after"), deadline, 2)
                    if released == "done":
                        self._note_released()
            except BaseException:
                if self.shell.busy:
                    self._session.doubt(self.shell)
                raise
            self._answered = time.monotonic()
            if answer[0] == "lost":
                self._lost = True
            return answer

    @asynccontextmanager
    async def _in_turn(self, deadline: TimeLimit) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._turn.acquire()
        except TimeoutError as error:
            raise BackendUnavailable("another thread uses the lock", hint="Try again.") from error
        try:
            yield
        finally:
            self._turn.release()

    def _note_released(self) -> None:
        self._released = True
        self.shell.lock_file = ""
        self._session.give_back(self.shell)

    def ensure_held(self) -> None:
        """Checks that the lock is held; the server is asked, unless it has answered within the last 0.1 s.

        Raises:
            LockLost: It was released, its connection has ended, or somebody has removed its file.
        """
        if self._released:
            raise LockLost("the lock was released")
        if not self.shell.alive:
            raise LockLost("the connection that held the lock has ended")
        if self._lost:
            raise lock_file_removed()
        if time.monotonic() - self._answered <= _FRESH:
            return
        deadline = TimeLimit(self._session.options.timeout / 2)
        try:
            word, _ = run(self.ask(call("ask", self.path), deadline), deadline.seconds)
        except ConnectionGone as lost:
            raise LockLost("the connection that held the lock has ended") from lost
        if word != "done":
            raise lock_file_removed()

    def release(self) -> None:
        """Releases the lock, and waits for the server's answer; a second call does nothing."""
        if self._released:
            return
        if not self.shell.alive or sys.is_finalizing():  # the server frees it when the connection ends
            self._released = True
            return
        run(self._release(TimeLimit(min(_GOODBYE, self._session.options.timeout))), _GOODBYE)

    async def _release(self, deadline: TimeLimit) -> None:
        try:
            async with self._in_turn(deadline):
                if self._released:
                    return
                await self.shell.ask(call("release"), deadline)
                self._note_released()
        except (BackendUnavailable, ConnectionGone):
            self._released = True
            if self.shell.busy:
                self._session.doubt(self.shell)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        # A signal handler may raise between the answer of the server and the moment in which somebody has this object.
        if not self._released and self.shell.alive and not sys.is_finalizing():
            start(self._release(TimeLimit(_GOODBYE)))


class ServerLocks:
    """Takes the locks of one store.

    Args:
        session: The store's connections.
        folder: The store's folder.
    """

    def __init__(self, session: Session, folder: StoreFolder) -> None:
        self._session = session
        self._folder = folder

    def take(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> SftpLock:
        """Takes the lock of a document; missing folders are made.

        Args:
            key: The document's key.
            owner: Who asks.
            timeout: Seconds to wait; 0 tries once.
            cancelled: Asked while waiting.

        Raises:
            LockTimeout: Somebody else holds it, or the wait was cancelled.
            StoreError: The lock cannot be had.
        """
        began = time.monotonic()
        wait = 0.0
        while True:
            answer = self._waited_for(self._try(key, owner, wait), cancelled)
            if isinstance(answer, SftpLock):
                return answer
            word, rest = answer
            if word == "folder":
                ensure_folder_wanted(owner)
                run(self._make(key), self._session.options.timeout)
                continue
            if word == "closed":
                raise lock_file_closed(lock_key(key).rpartition("/")[2], rest)
            if word != "busy":
                raise of_program(rest.partition(" ")[2] if word == "failed" else f"{word} {rest}", "lock the document")
            left = timeout - (time.monotonic() - began)
            if left <= 0 or cancelled():
                raise LockTimeout(f"waited {round(timeout, 2):g} s for the lock", holder=owner_in(rest))
            wait = min(_ONE_WAIT, left)

    def _waited_for(
        self, trying: Coroutine[Any, Any, SftpLock | tuple[str, str]], cancelled: Callable[[], bool]
    ) -> SftpLock | tuple[str, str]:
        """The answer to one try. A cancelled one is waited for, too: the lock may be granted by then."""
        pending = start(trying)
        limit = time.monotonic() + 2 * self._session.options.timeout
        try:
            while not pending.ends_within(_ONE_WAIT):
                if time.monotonic() > limit:
                    raise _late()  # noqa: TRY301  # the request is cancelled, too
                cancelled()
            return pending.result(0)
        except BaseException:
            pending.cancel()
            raise

    async def _try(self, key: str, owner: LockOwner, wait: float) -> SftpLock | tuple[str, str]:
        deadline = TimeLimit(self._session.options.timeout)
        path = self._folder.lock_file(key)
        seconds = f"{wait:.3f}" if wait > 0 else "0"
        try:
            async with self._session.shell(deadline) as shell:
                word, rest = await shell.ask(call("lock", path, seconds, _encode(owner).decode()), deadline)
                if word != "done":
                    return word, rest
                shell.lock_file = path
                return SftpLock(key, owner, path, shell, self._session)
        except ConnectionGone as lost:
            raise BackendUnavailable(
                f"cannot lock the document: {lost}", exhausted=lost.silent, hint="Look at the network and the server."
            ) from lost

    async def _make(self, key: str) -> None:
        deadline = TimeLimit(self._session.options.timeout)
        try:
            async with self._session.shell(deadline) as shell:
                await make_folders(shell, self._folder, self._folder.folder(key), deadline)
        except ConnectionGone as lost:
            raise BackendUnavailable(str(lost), exhausted=lost.silent) from lost


def _late() -> BackendUnavailable:
    return BackendUnavailable(
        "the lock has not been answered in time", exhausted=True, hint="Look at the network and the server."
    )


def owner_in(record: str) -> LockOwner | None:
    """Who holds a lock by what its file says; None where it says nothing that can be read.

    Args:
        record: The second line of the file.
    """
    return owner_in_record(record.encode("utf-8", "surrogateescape"))
