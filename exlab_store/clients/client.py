"""A client of a store: it is told what to do, and must answer in time."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exlab_store.clients.requests import StoreDescription

__all__ = ["Client", "ClientGone", "NoAnswer"]


class NoAnswer(Exception):
    """A client has not answered in time.

    Args:
        request: What it was asked for.
        seconds: How long that was.
    """

    def __init__(self, request: str, seconds: float) -> None:
        super().__init__(f"there was no answer to `{request}` within {max(0.1, seconds):.1f} s")


class ClientGone(Exception):
    """A client process has ended by itself.

    Args:
        request: What it was asked for.
        code: Its exit code; None if the process cannot end, as in a system call that does not return.
    """

    def __init__(self, request: str, code: int | None) -> None:
        super().__init__(f"a client process has ended in `{request}` with {code}")
        self.code = code


class Client(ABC):
    """A client in a process of this machine or of another one.

    Args:
        patience: Seconds that an answer may take.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.deadline = math.inf
        """When all answers must have come, by `time.monotonic`."""

    @property
    @abstractmethod
    def opened(self) -> StoreDescription:
        """The store that it has opened; waits until it has.

        Raises:
            StoreError: It could not.
            NoAnswer: It took too long.
            ClientGone: The process has ended.
        """

    @abstractmethod
    def send(self, request: str, **arguments: Any) -> None:
        """Tells the client to do something; `answer` gives the result.

        Args:
            request: The name of the request.
            arguments: Its arguments.

        Raises:
            StoreError: The store cannot be opened.
        """

    @abstractmethod
    def answer(self, seconds: float | None = None) -> Any:
        """The result of the last request.

        Args:
            seconds: How long that may take; None for the client's patience.

        Raises:
            StoreError: What the store raised.
            NoAnswer: It took too long.
            ClientGone: The process has ended.
        """

    @abstractmethod
    def kill(self) -> None:
        """Ends the process as a crash would: it does nothing any more."""

    @abstractmethod
    def end(self) -> None:
        """Ends the process in peace, or by force if it does not go."""

    def ask(self, request: str, /, **arguments: Any) -> Any:
        """Sends and waits for the answer.

        Args:
            request: As for `send`.
            arguments: As for `send`.
        """
        self.send(request, **arguments)
        return self.answer()

    def _limit(self, seconds: float | None) -> float:
        return min(self._patience if seconds is None else seconds, max(0.0, self.deadline - time.monotonic()))
