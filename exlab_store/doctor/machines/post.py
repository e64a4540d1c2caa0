"""The documents through which two machines write to each other: each has one, which it replaces, and reads the other's.

A side writes its next message when it has read the answer to the last one, or when what it writes ends whatever the
other is doing; so none is lost by being replaced. A client process of its own reads and writes them: a storage that
does not answer holds up that process, and not the wait.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from exlab_store.clients.client import ClientGone, NoAnswer
from exlab_store.doctor.clients import start_client
from exlab_store.doctor.machines.messages import Ended, opened, sealed
from exlab_store.errors import BackendUnavailable, StoreError
from exlab_store.model import version_of

if TYPE_CHECKING:
    import os

    from exlab_store.clients.process import ClientProcess
    from exlab_store.doctor.machines.codes import Code
    from exlab_store.doctor.machines.messages import Message, Side
    from exlab_store.model import Version

__all__ = ["MachineGone", "Post"]

_PATIENCE = 30.0
_SLICE = 1.0  # seconds: a wait that is interrupted ends within them
_OTHER: dict[Side, Side] = {"inviting": "joined", "joined": "inviting"}


class MachineGone(Exception):
    """The other machine has ended its part, or says nothing any more.

    Args:
        error: What to tell whoever waits.
    """

    def __init__(self, error: StoreError) -> None:
        super().__init__(error.message)
        self.error = error


class Post:
    """One side's way to write to the other.

    Args:
        location: Where, as this side opens it.
        config: The configuration's file for ``@name``, or None.
        code: The examination's.
        side: Which side this is.
    """

    def __init__(self, location: str | os.PathLike[str], config: str | None, code: Code, side: Side) -> None:
        self._another = partial(start_client, location, config, _PATIENCE)
        self._client = self._another()
        self._code = code
        self._side: Side = side
        self._waiting = False
        self._known: Version | None = None
        self._last = -1
        self.other = "the other machine"
        """The name of the other machine, as soon as it is known."""
        self.ended = False
        """Whether the other side has ended."""

    @property
    def client(self) -> ClientProcess:
        """The process that reads and writes the documents."""
        return self._client

    def write(self, message: Message) -> None:
        """Replaces this side's document.

        Args:
            message: The next one.

        Raises:
            StoreError: It could not be written.
            MachineGone: The folder is not there any more.
        """
        document = sealed(self._side, message, self._code.key)
        beside = self._key(_OTHER[self._side]) if self._side == "joined" else None
        if not self._ask("write_beside", key=self._key(self._side), data=document, beside=beside):
            raise MachineGone(StoreError(f"the examination has ended on {self.other}"))

    def read(self, seconds: float) -> Message | None:
        """The other side's next message.

        Args:
            seconds: How long to wait for it.

        Returns:
            It, or None if there is none yet.

        Raises:
            StoreError: Nothing can be read there.
            MachineGone: The other side has ended before all was done.
        """
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            document: bytes | None = self._ask(
                "await_change",
                key=self._key(_OTHER[self._side]),
                known=self._known,
                seconds=max(0.0, min(left, _SLICE)),
            )
            message = None if document is None else self._opened(document)
            if message is not None or left <= 0:
                return message

    def answer(self, number: int, seconds: float) -> Message:
        """The other side's message of a number.

        Args:
            number: That of the request.
            seconds: How long to wait for it.

        Raises:
            MachineGone: There is none, or the other side has ended.
        """
        end = time.monotonic() + seconds
        while True:
            message = self.read(max(0.0, end - time.monotonic()))
            if message is None:
                raise MachineGone(
                    BackendUnavailable(
                        f"{self.other} has said nothing for {seconds:.0f} s",
                        hint="See whether the command runs there, and whether both reach the storage; then try again.",
                    )
                )
            if message.number == number:
                return message

    def end(self, number: int, reason: str, *, wait: float = 0.0) -> None:
        """Tells the other side that this one ends, as well as that is possible.

        Args:
            number: That of the last request.
            reason: Empty where all is done.
            wait: Seconds to wait for the other side to end too.
        """
        end = time.monotonic() + wait
        with suppress(StoreError, MachineGone, NoAnswer, ClientGone):
            if self._waiting:  # interrupted, perhaps in the middle of a request to the client
                self._client.kill()
                self._client, self._waiting = self._another(), False
            self._ask("forget")  # nothing may be open here that the other side is about to remove
            self.write(Ended(number=number, reason=reason))
            while not self.ended and time.monotonic() < end:
                self.read(end - time.monotonic())

    def close(self) -> None:
        """Ends the client."""
        self._client.end()

    def _key(self, side: Side) -> str:
        return f"{self._code.folder}/messages/{side}.json"

    def _opened(self, document: bytes) -> Message | None:
        if not document:
            raise MachineGone(
                StoreError(f"the doctor's folder was removed while {self.other} and this machine used it")
            )
        self._known = version_of(document)
        message = opened(_OTHER[self._side], document, self._code.key)
        if message is None or message.number < self._last:
            return None  # not of the other side, or one that it has written before: whoever kept it may put it back
        self._last = message.number
        self.ended = isinstance(message, Ended)
        if isinstance(message, Ended) and message.reason:
            raise MachineGone(StoreError(f"the examination was ended on {self.other}: {message.reason}"))
        return message

    def _ask(self, request: str, **arguments: Any) -> Any:
        self._waiting = True
        try:
            result = self._client.ask(request, **arguments)
        except StoreError:
            self._waiting = False
            raise
        self._waiting = False
        return result
