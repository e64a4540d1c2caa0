"""The other machine's side of an examination: what it does for the machine that examines."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store.clients.client import ClientGone, NoAnswer
from exlab_store.doctor.clients import start_client
from exlab_store.doctor.machines.codes import parsed
from exlab_store.doctor.machines.messages import PROTOCOL, Answer, Ended, Failed, Invitation, Joined, Request
from exlab_store.doctor.machines.names import kernel, machine, shown
from exlab_store.doctor.machines.post import MachineGone, Post
from exlab_store.doctor.machines.requests import checked
from exlab_store.errors import BackendUnavailable, DocumentExists, DocumentNotFound, StoreError
from exlab_store.hidden_location import hides_location

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from exlab_store.clients.process import ClientProcess
    from exlab_store.doctor.machines.codes import Code
    from exlab_store.doctor.machines.messages import Message

__all__ = ["Participation", "join"]

_FINDING = 5.0  # seconds: a mount may have cached that there is no such folder
_SILENCE = 90.0  # seconds between two requests, beside the races: the other side's own clients work in them
_SLICE = 0.5
_TEXT = 2000


class Participation(msgspec.Struct, frozen=True):
    """What this machine has done.

    Attributes:
        location: Where, without secrets.
        machine: This machine's name.
        other: The name of the machine that examined, and has the report.
        requests: How many requests of it were done.
        seconds: How long that took.
    """

    location: str
    machine: str
    other: str
    requests: int
    seconds: float


@hides_location
def join(
    location: str | os.PathLike[str],
    code: str,
    *,
    config: str | None = None,
    progress: Callable[[int, str, str], None] | None = None,
) -> Participation:
    """Takes part in the examination that another machine has begun with ``examine(..., invited=...)``.

    The two machines have no connection but the storage. What the other one asks for is done in the doctor's folder, by
    a client process, and only if it knows the code.

    Args:
        location: The location that is examined, as this machine sees it, as `open_store` takes it.
        code: What the other machine shows.
        config: The configuration's file for ``@name``; None to look for it.
        progress: Called with the number of requests that are done, the other machine's name, and what comes.

    Returns:
        What was done, when the examination is over.

    Raises:
        InvalidCode: The text is no code, or was mistyped.
        DocumentNotFound: No examination with this code is under way at the location.
        DocumentExists: Another machine has joined it before.
        BackendUnavailable: The other machine, or the storage, does not answer any more.
        StoreError: The examination was ended on the other machine, or the store cannot be opened.
    """
    known = parsed(code)
    post = Post(location, config, known, "joined")
    part = _Part(location, config, known, post, progress)
    try:
        return part.done()
    except MachineGone as gone:
        raise gone.error from None
    except (NoAnswer, ClientGone) as error:
        raise BackendUnavailable(
            f"the storage does not answer: {error}", hint="Look at the network and the server; then try again."
        ) from error
    finally:
        post.close()


class _Part:
    def __init__(
        self,
        location: str | os.PathLike[str],
        config: str | None,
        code: Code,
        post: Post,
        progress: Callable[[int, str, str], None] | None,
    ) -> None:
        self._location = location
        self._config = config
        self._code = code
        self._post = post
        self._progress = progress
        self._client: ClientProcess | None = None
        self._number = 0

    def done(self) -> Participation:
        began = time.monotonic()
        opened = self._post.client.opened
        silence = self._joined(opened.location)
        try:
            self._serve(silence)
            self._end_client()
            self._post.end(self._number, "")
        except BaseException as error:
            self._end_client()
            if isinstance(error, MachineGone) and isinstance(error.error, BackendUnavailable):
                self._clear()  # nobody else will
            else:
                self._post.end(self._number, _reason(error))
            raise
        return Participation(opened.location, machine(), self._post.other, self._number, time.monotonic() - began)

    def _joined(self, location: str) -> float:
        """Finds the examination and takes the only seat in it; returns how long the other side may be silent."""
        invitation = self._post.read(_FINDING)
        if not isinstance(invitation, Invitation):
            raise DocumentNotFound(
                "no examination with this code is under way here",
                location=location,
                hint="It may have ended, or be at another location: give the very folder that is examined, as this "
                "machine sees it, while the other machine waits.",
            )
        self._post.other = shown(invitation.machine)
        if invitation.protocol != PROTOCOL:
            raise StoreError(
                f"{self._post.other} runs a version of exlab-store whose examinations this one cannot join",
                hint="Install the same version on both machines.",
            )
        if not self._post.client.ask("create", key=f"{self._code.folder}/messages/seat.json", data=b"{}"):
            taken = DocumentExists(
                f"another machine has joined this examination of {self._post.other}", location=location
            )
            taken.hint = "Begin one examination for each machine that is to take part."
            raise taken
        self._post.write(Joined(number=0, machine=machine(), kernel=kernel(self._code)))
        return _SILENCE + 10 * invitation.seconds

    def _serve(self, silence: float) -> None:
        message: Message | None = None
        while True:
            if message is None:
                self._tell("waiting")
                message = self._next(silence)
            if isinstance(message, Ended):
                return
            if not isinstance(message, Request):
                raise MachineGone(StoreError(f"{self._post.other} asks in a way that this version does not know"))
            self._number = message.number
            self._tell(message.name)
            outcome = self._outcome(message)
            if isinstance(outcome, (Answer, Failed)):
                self._post.write(outcome)
                message = None
            else:
                message = outcome

    def _next(self, silence: float) -> Message:
        message = self._post.read(silence)
        if message is None:
            raise MachineGone(
                BackendUnavailable(
                    f"{self._post.other} has said nothing for {silence:.0f} s",
                    hint="See whether the command still runs there, and whether both reach the storage.",
                )
            )
        return message

    def _outcome(self, request: Request) -> Message:
        """What comes of a request: an answer, or the message that ended it before there was one."""
        number = request.number
        try:
            result = self._result(request)
        except _Superseded as error:
            return error.message
        except (NoAnswer, ClientGone) as error:
            return Failed(number=number, code=type(error).__name__, message=str(error))
        except StoreError as error:
            return Failed(
                number=number, code=error.code, message=error.message[:_TEXT], hint=(error.hint or "")[:_TEXT]
            )
        return Answer(number=number, result=msgspec.Raw(msgspec.json.encode(result)))

    def _result(self, request: Request) -> Any:
        if request.name == "kill":
            if self._client is not None:
                self._client.kill()
            self._client = None
            return None
        if request.name == "open" or self._client is None:
            self._end_client()
            self._client = start_client(self._location, self._config, request.limit)
        if request.name == "open":
            return self._client.opened
        self._client.send(request.name, **checked(request.name, request.arguments, self._code.folder))
        end = time.monotonic() + request.limit
        while True:
            left = end - time.monotonic()
            try:
                return self._client.answer(max(0.0, min(left, _SLICE)))
            except NoAnswer:
                if left <= 0:
                    raise
            message = self._post.read(0)
            if message is not None:
                raise _Superseded(message)

    def _end_client(self) -> None:
        if self._client is not None:
            self._client.kill()
            self._client = None

    def _clear(self) -> None:
        with suppress(StoreError, NoAnswer, ClientGone):
            self._post.client.ask("find_bypass", folder=self._code.folder)
            self._post.client.ask("clear", folder=self._code.folder, keys=[])

    def _tell(self, what: str) -> None:
        if self._progress is not None:
            self._progress(self._number, self._post.other, what)


class _Superseded(Exception):
    def __init__(self, message: Message) -> None:
        super().__init__()
        self.message = message


def _reason(error: BaseException) -> str:
    if isinstance(error, MachineGone):
        return ""
    if isinstance(error, StoreError):
        return error.message[:_TEXT]
    return "it was interrupted" if isinstance(error, (KeyboardInterrupt, SystemExit)) else type(error).__name__
