"""A store's connections to its server: made when they are needed, made again when they have ended."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakSet

import asyncssh

from exlab_store import BackendUnavailable, NotSupported, StoreError
from exlab_store.backend import in_forked_child
from exlab_store_sftp.connection import Connection, connect
from exlab_store_sftp.connection_lost import ConnectionGone
from exlab_store_sftp.faults import lost_if_ended
from exlab_store_sftp.server_script import call
from exlab_store_sftp.server_shell import NoShell, Running, ServerShell

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from exlab_store_sftp.options import SftpOptions
    from exlab_store_sftp.time_limit import TimeLimit

__all__ = ["Session"]

_AT_ONCE: Final = 6  # requests under way; each lock that is held has a process beside these
_MOST_CONNECTIONS: Final = 32

_T = TypeVar("_T")

_all: WeakSet[Session] = WeakSet()


class Session:
    """The connections of one store, and the processes on its server. All but `closed` runs on the event loop.

    Args:
        options: The server and the account.
        root: The store's folder.
    """

    def __init__(self, options: SftpOptions, root: str) -> None:
        self.options = options
        self.root = root
        self.closed = False
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._connections: list[Connection] = []
        self._idle: list[ServerShell] = []
        self._doubtful: list[Running] = []
        self._connecting = asyncio.Lock()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def begin_anew(self) -> None:
        """In a forked child: uses nothing of the parent's."""
        self._begin()

    def ensure_open(self) -> None:
        """Checks that the store was not closed.

        Raises:
            NotSupported: It was.
        """
        if self.closed:
            raise NotSupported("the store is closed", hint="Open it again.")

    async def connection(self, deadline: TimeLimit) -> Connection:
        """The connection that SFTP uses, made now if there is none that works.

        Args:
            deadline: Until when.

        Raises:
            StoreError: As `connect` does, or the store was closed.
        """
        self.ensure_open()
        if self._connections and self._connections[0].alive:
            return self._connections[0]
        async with self._connecting:
            self._connections = [each for each in self._connections if each.alive]
            if not self._connections:
                await self._connect(deadline)
            return self._connections[0]

    async def _connect(self, deadline: TimeLimit) -> Connection:
        made = await connect(self.options, deadline)
        if self.closed:
            made.abort()
            self.ensure_open()
        self._connections.append(made)
        return made

    async def files(self, deadline: TimeLimit) -> asyncssh.SFTPClient:
        """The SFTP session.

        Args:
            deadline: Until when.

        Raises:
            StoreError: As `connection` and `Connection.files` do.
        """
        connection = await self.connection(deadline)
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await connection.files()
        except TimeoutError as error:
            connection.abort()
            raise deadline.late("begin an SFTP session") from error

    async def asked(
        self, deadline: TimeLimit, question: Callable[[asyncssh.SFTPClient], Coroutine[object, object, _T]]
    ) -> _T:
        """What comes of requests over SFTP.

        Args:
            deadline: Until when.
            question: Makes them.

        Raises:
            ConnectionGone: The connection has ended, or the server has not answered in time and it is given up.
            StoreError: There is no connection to be had.
            asyncssh.Error: As the server says.
        """
        files = await self.files(deadline)
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await question(files)
        except TimeoutError as error:
            self.give_up(files)
            raise ConnectionGone("the server has not answered in time", silent=True) from error
        except (asyncssh.Error, OSError, ValueError) as error:
            if not isinstance(error, StoreError):
                lost_if_ended(error)
            raise

    async def answered(
        self,
        deadline: TimeLimit,
        action: str,
        question: Callable[[asyncssh.SFTPClient], Coroutine[object, object, _T]],
    ) -> _T:
        """The same for questions that change nothing: they are asked again over a new connection.

        Args:
            deadline: Until when.
            action: What is done, for an error.
            question: Asks them.

        Raises:
            StoreError: There is no answer in time.
            asyncssh.Error: As the server says.
        """
        while True:
            try:
                return await self.asked(deadline, question)
            except ConnectionGone as lost:
                if lost.silent or deadline.remaining() <= 0:
                    raise deadline.late(action) from lost

    def give_up(self, files: asyncssh.SFTPClient) -> None:
        """Ends the connection of an SFTP session that has not answered.

        Args:
            files: The session.
        """
        for connection in self._connections:
            if connection.alive and connection.uses(files):
                connection.abort()

    @asynccontextmanager
    async def shell(self, deadline: TimeLimit) -> AsyncGenerator[ServerShell]:
        """A process on the server for one request, or for as long as it holds a lock.

        Args:
            deadline: Until when to wait for one.

        Raises:
            StoreError: There is none.
        """
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._turns.acquire()
        except TimeoutError as error:
            raise deadline.late("begin: other requests are under way") from error
        try:
            shell = await self._ready(deadline)
            try:
                yield shell
            finally:
                self.give_back(shell)
        finally:
            self._turns.release()

    def give_back(self, shell: ServerShell) -> None:
        """Has a process used again, if it can be; what it may still be doing is ended before anything else is done.

        Args:
            shell: It holds no lock any more, or it stays with its lock.
        """
        if shell.alive and not shell.busy:
            if not shell.lock_file and shell not in self._idle:
                self._idle.append(shell)
        elif shell.busy:
            self.doubt(shell)

    def doubt(self, shell: ServerShell) -> None:
        """Remembers a process that was asked for something and has not answered.

        Args:
            shell: Which one.
        """
        if shell.running not in self._doubtful:
            self._doubtful.append(shell.running)
        shell.busy = False
        shell.end()

    def settled(self, running: Running) -> None:
        """The process has ended for certain.

        Args:
            running: Which one.
        """
        with suppress(ValueError):
            self._doubtful.remove(running)

    async def _ready(self, deadline: TimeLimit) -> ServerShell:
        shell = await self._found(deadline)
        try:
            for running in list(self._doubtful):
                word, _ = await shell.ask(call("stop", *running), deadline.half())
                if word == "done":
                    self.settled(running)
                else:
                    self.give_back(shell)
                    raise _still_at_work()
        except ConnectionGone as error:
            raise BackendUnavailable(str(error), exhausted=error.silent) from error
        return shell

    async def fresh_shell(self, deadline: TimeLimit) -> ServerShell:
        """A process to ask what became of another one, which is not ended before.

        Args:
            deadline: Until when.

        Raises:
            StoreError: There is none.
        """
        return await self._found(deadline)

    async def _found(self, deadline: TimeLimit) -> ServerShell:
        self.ensure_open()
        while self._idle:
            shell = self._idle.pop()
            if shell.alive:
                return shell
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await self._started(deadline)
        except TimeoutError as error:
            for connection in self._connections:
                connection.abort()
            raise deadline.late("start a program on the server") from error
        except ConnectionGone as error:
            raise BackendUnavailable(str(error)) from error

    async def _started(self, deadline: TimeLimit) -> ServerShell:
        await self.connection(deadline)
        refused: NoShell | None = None
        for connection in list(self._connections):
            if connection.has_room:
                try:
                    return await connection.start_shell(self.root)
                except NoShell as error:
                    refused = error
        if len(self._connections) >= _MOST_CONNECTIONS:
            raise BackendUnavailable(
                "this store has as many connections as it may, each full of locks",
                exhausted=True,
                hint="Hold fewer locks at once, or allow more sessions on the server: MaxSessions in sshd_config.",
            )
        connection = await self._connect(deadline)
        try:
            return await connection.start_shell(self.root)
        except NoShell as error:
            raise BackendUnavailable(
                f"no program can be started on the server any more: {refused or error}",
                hint="It could when the store was opened: look at MaxSessions and the account there.",
            ) from error

    async def close(self, deadline: TimeLimit) -> None:
        """Ends everything; the server frees the locks.

        Args:
            deadline: Until when to wait for the server.
        """
        connections, self._connections, self._idle = self._connections, [], []
        try:
            async with asyncio.timeout(deadline.remaining()):
                await asyncio.gather(*(connection.close() for connection in connections), return_exceptions=True)
        except TimeoutError:
            for connection in connections:
                connection.abort()


def _still_at_work() -> StoreError:
    return BackendUnavailable(
        "a program of an earlier connection is still at work on the server and cannot be ended",
        exhausted=True,
        hint="Look at the server's disk: a process that cannot be killed waits for it.",
    )


def _begin_all_anew() -> None:
    for session in list(_all):
        session.begin_anew()


in_forked_child(_begin_all_anew)
