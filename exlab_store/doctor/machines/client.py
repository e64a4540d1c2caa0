"""The other machine, as the side that examines uses it: its client is asked as one of this machine is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from exlab_store.clients.client import Client, ClientGone, NoAnswer
from exlab_store.clients.requests import StoreDescription
from exlab_store.doctor.machines.messages import PROTOCOL, Answer, Failed, Invitation, Joined, Request
from exlab_store.doctor.machines.names import kernel, machine, shown
from exlab_store.doctor.machines.post import MachineGone, Post
from exlab_store.doctor.machines.requests import TASKS
from exlab_store.errors import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    InvalidKey,
    LocationError,
    LockLost,
    NotSupported,
    StorageFull,
    StoreError,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from exlab_store.doctor.machines.codes import Code

__all__ = ["OtherMachine", "RemoteClient"]

_JOURNEY = 30.0  # seconds: what a mount's cache may hold back a message and its answer
_FAREWELL = 20.0
# Those that a probe tells from others. A message cannot have this machine raise anything else.
_ERRORS: dict[str, type[StoreError]] = {
    error.code: error
    for error in (
        AccessDenied,
        BackendUnavailable,
        DocumentNotFound,
        InvalidKey,
        LocationError,
        LockLost,
        NotSupported,
        StorageFull,
    )
}


class OtherMachine:
    """A machine that has joined.

    Args:
        location: Where the two meet, as this machine opens it.
        config: The configuration's file for ``@name``, or None.
        code: The examination's.
        seconds: How long each kind of work goes on that is a matter of time.
    """

    def __init__(self, location: str | os.PathLike[str], config: str | None, code: Code, seconds: float) -> None:
        self._post = Post(location, config, code, "inviting")
        self._code = code
        self._seconds = seconds
        self._number = 0
        self._joined = False
        self.name = ""
        """The machine's name, safe to print."""
        self.same_kernel = False
        """Whether both sides run on one kernel, as two containers do."""

    @property
    def same_name(self) -> bool:
        """Whether it is called what this machine is called: then it may be this machine."""
        return self.name == machine()

    def invite(self, wait: float, invited: Callable[[str], None]) -> None:
        """Waits until the other machine has joined.

        Args:
            wait: Seconds that it may take.
            invited: Is told the code as soon as it can be used.

        Raises:
            BackendUnavailable: No machine has joined.
            StoreError: The invitation cannot be written.
            MachineGone: The machine that joined has ended again.
        """
        own = kernel(self._code)
        self._post.write(Invitation(number=0, protocol=PROTOCOL, machine=machine(), kernel=own, seconds=self._seconds))
        invited(self._code.text)
        message = self._post.read(wait)
        if not isinstance(message, Joined):
            raise BackendUnavailable(
                f"no other machine has joined within {wait:.0f} s",
                hint="Begin again, and run the command that is shown on the other machine, with the location as that "
                "machine sees it.",
            )
        self._joined = True
        self.name = self._post.other = shown(message.machine)
        self.same_kernel = bool(own) and message.kernel == own

    def request(self, name: str, arguments: object, limit: float) -> int:
        """Asks the other machine for something.

        Args:
            name: The request's name.
            arguments: A struct, or an empty dict.
            limit: Seconds that it may take there.

        Returns:
            The request's number.
        """
        self._number += 1
        raw = msgspec.Raw(msgspec.json.encode(arguments))
        self._post.write(Request(number=self._number, name=name, arguments=raw, limit=limit))
        return self._number

    def result(self, name: str, number: int, seconds: float, kind: Any) -> Any:
        """What came of a request.

        Args:
            name: What was asked for.
            number: Its number.
            seconds: How long that may take there.
            kind: The type that it must have.

        Raises:
            StoreError: What the other machine's store raised.
            NoAnswer: Its client did not answer in time.
            ClientGone: Its client has ended.
            MachineGone: The machine does not answer, or not as it has to.
        """
        try:
            message = self._post.answer(number, seconds + _JOURNEY)
        except MachineGone:
            self._joined = False
            raise
        if isinstance(message, Failed):
            if message.code == NoAnswer.__name__:
                raise NoAnswer(name, seconds)
            if message.code == ClientGone.__name__:
                raise ClientGone(name, None)
            said, hint = shown(message.message), shown(message.hint)
            raise _ERRORS.get(message.code, StoreError)(said, hint=hint or None)
        try:
            if isinstance(message, Answer):
                return msgspec.json.decode(message.result, type=kind)
        except (msgspec.DecodeError, ValueError, RecursionError):
            pass
        raise MachineGone(StoreError(f"{self.name} answers in a way that this version of exlab-store does not know"))

    def end(self, reason: str) -> None:
        """Ends the other machine's part; waits until it uses the folder no more.

        Args:
            reason: Empty where all is done; otherwise why it ends before that, as a clause.
        """
        self._post.end(self._number, reason, wait=_FAREWELL if self._joined else 0.0)
        self._post.close()


class RemoteClient(Client):
    """A client of the other machine.

    Args:
        of: The machine.
        patience: Seconds that an answer may take.
    """

    def __init__(self, of: OtherMachine, patience: float) -> None:
        super().__init__(patience)
        self._machine = of
        self._asked, self._kind = "open", cast("Any", StoreDescription)
        self._sent = of.request("open", {}, patience)
        self._opened: StoreDescription | None = None

    @property
    def opened(self) -> StoreDescription:
        """See `Client`."""
        if self._opened is None:
            found: StoreDescription = self.answer()
            self._opened = StoreDescription(shown(found.location), found.of_server, found.guarantees)
        return self._opened

    def send(self, request: str, **arguments: Any) -> None:
        """See `Client`; the request is one of `requests.TASKS`."""
        _ = self.opened  # the first answer is about that
        task = TASKS[request]
        self._asked, self._kind = request, task.result
        self._sent = self._machine.request(request, task.arguments(**arguments), self._patience)

    def answer(self, seconds: float | None = None) -> Any:
        """See `Client`."""
        return self._machine.result(self._asked, self._sent, self._limit(seconds), self._kind)

    def kill(self) -> None:
        """See `Client`."""
        self._machine.result("kill", self._machine.request("kill", {}, self._patience), self._patience, None)

    def end(self) -> None:
        """Nothing: the client ends when its machine's part ends."""
