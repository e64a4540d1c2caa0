"""One process on the server that does what it is told: see `server_script`."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncssh

from exlab_store_sftp.connection_lost import ConnectionGone
from exlab_store_sftp.server_script import SCRIPT, call, start_command

if TYPE_CHECKING:
    from exlab_store_sftp.time_limit import TimeLimit

__all__ = ["NoShell", "Running", "ServerShell", "Welcome"]

_LONGEST: Final = 1 << 16  # bytes of an answer; a record is 4 KiB at most
_MARK: Final = "exlab-store-"


class Running(NamedTuple):
    """What tells a process on the server from all others.

    Attributes:
        pid: Its number there.
        mark: What stands in its name.
    """

    pid: str
    mark: str


class Welcome(NamedTuple):
    """What a new process says of itself and its server.

    Attributes:
        pid: Its number.
        uid: Its account's number.
        root: Of the store's folder, or of the first above it that exists: user, group, mode, size and time.
        kind: The kind of the file system that this is on, as ``stat -f`` calls it.
        missing: Programs that the server lacks.
    """

    pid: str
    uid: str
    root: str
    kind: str
    missing: tuple[str, ...]


class NoShell(Exception):
    """No program can be started on the server; the text says why, as far as the server does."""


class ServerShell:
    """The process. One request at a time.

    Args:
        connection: asyncssh's.
        process: Of that connection.
        mark: What stands in its name.

    Attributes:
        welcome: What it said first.
        lock_file: Of the lock that it holds; empty for none.
        busy: It has been asked, and has not answered yet.
    """

    welcome: Welcome

    def __init__(
        self, connection: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[bytes], mark: str
    ) -> None:
        self._connection = connection
        self._process = process
        self._mark = mark
        self._received = bytearray()
        self.lock_file = ""
        self.busy = False
        self._ended = False

    @property
    def alive(self) -> bool:
        """Whether it can be asked, as far as this side knows."""
        return not self._ended and not self._process.channel.is_closing()

    @classmethod
    async def start(cls, connection: asyncssh.SSHClientConnection, root: str) -> ServerShell:
        """Starts one.

        Args:
            connection: To the server.
            root: The store's folder.

        Raises:
            NoShell: The server starts none, or something else.
            ConnectionGone: The connection has ended.
        """
        mark = _MARK + os.urandom(8).hex()
        try:
            process = await connection.create_process(
                start_command(mark), encoding=None, stderr=asyncssh.DEVNULL, request_pty=False
            )
        except asyncssh.ChannelOpenError as error:
            if connection.is_closed():
                raise ConnectionGone("the connection has ended") from error
            raise NoShell(f"the server opens no session for a program: {error.reason}") from error
        except (asyncssh.Error, OSError) as error:
            raise ConnectionGone(f"the connection has ended: {error}") from error
        shell = cls(connection, process, mark)
        try:
            shell.welcome = await shell._greet(root)
        except BaseException:
            shell.end()
            raise
        return shell

    @property
    def running(self) -> Running:
        """What tells it from all other processes of the server."""
        return Running(self.welcome.pid, self._mark)

    async def _greet(self, root: str) -> Welcome:
        try:
            self._process.stdin.write(SCRIPT.encode() + call("hello", self._mark, root))
            while True:
                line = await self._line()
                if line.startswith(self._mark + " "):
                    break
        except (ConnectionGone, asyncssh.Error, OSError) as error:
            await asyncio.sleep(0)  # the end of the connection may be told behind the end of the process
            if self._connection.is_closed() or isinstance(error, asyncssh.ConnectionLost):
                raise ConnectionGone("the connection has ended") from error
            raise NoShell("the server has started something else than a shell") from error
        words = line.split(" ")
        if len(words) < 6 or ":" not in words[4:]:
            raise NoShell("the server's shell or its programs are not such as are needed")
        colon = words.index(":", 4)
        return Welcome(
            words[1],
            words[2],
            words[3],
            " ".join(words[4:colon]),
            tuple(word for word in words[colon + 1 :] if word),
        )

    async def ask(self, request: bytes, deadline: TimeLimit) -> tuple[str, str]:
        """Sends a request and waits for the answer.

        Args:
            request: From `call`, with what follows it.
            deadline: Until when.

        Returns:
            The first word of the answer, and the rest.

        Raises:
            ConnectionGone: It has ended, or has not answered in time: it is given up, and may still be at work.
        """
        (answer,) = await self.ask_lines(request, deadline, 1)
        return answer

    async def ask_lines(self, request: bytes, deadline: TimeLimit, count: int) -> list[tuple[str, str]]:
        """The same for a request that is answered with several lines.

        Args:
            request: See `ask`.
            deadline: Until when.
            count: How many lines.

        Raises:
            ConnectionGone: See `ask`.
        """
        try:
            self._process.stdin.write(request)
        except (asyncssh.Error, OSError) as error:
            self.end()
            raise ConnectionGone("the connection has ended", asked=False) from error
        self.busy = True
        try:
            async with asyncio.timeout(deadline.remaining()):
                answers: list[tuple[str, str]] = []
                for _ in range(count):
                    word, _, rest = (await self._line()).partition(" ")
                    answers.append((word, rest))
        except TimeoutError as error:
            self.end()
            raise ConnectionGone("the server has not answered in time", silent=True) from error
        except (asyncssh.Error, OSError) as error:
            self.end()
            raise ConnectionGone(f"the connection has ended: {error}") from error
        except BaseException:  # an interruption: nobody waits for the answer any more
            self.end()
            raise
        self.busy = False
        return answers

    async def _line(self) -> str:
        while True:
            end = self._received.find(b"\n")
            if end >= 0:
                line = bytes(self._received[:end])
                del self._received[: end + 1]
                return line.decode("utf-8", "surrogateescape")
            if len(self._received) > _LONGEST:
                self.end()
                raise ConnectionGone("the server has answered with what is no answer")
            part = await self._process.stdout.read(_LONGEST)
            if not part:
                self._ended = True
                raise ConnectionGone("the process on the server has ended")
            self._received += part

    def end(self) -> None:
        """Ends it: it goes when it has done what it has been asked for, and with it its lock."""
        self._ended = True
        self._process.channel.abort()

    def leave_to_parent(self) -> None:
        """In a forked child: it is the parent's."""
        self._ended = True
