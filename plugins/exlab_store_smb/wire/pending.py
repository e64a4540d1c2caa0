"""A request that was sent and waits for its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from exlab_store.backend import Latch

if TYPE_CHECKING:
    from exlab_store_smb.wire.authenticity import Expected
    from exlab_store_smb.wire.headers import Response
    from exlab_store_smb.wire.shapes import SmbRequest

__all__ = ["Pending", "PendingRequests"]

T = TypeVar("T")


class _Field(Generic[T]):
    """A value as smbprotocol's structures have them."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def get_value(self) -> T:
        """The value."""
        return self._value


class Pending:
    """A request that was sent, and its answer as soon as that is here.

    Args:
        asked: The request.
        number: Its MessageId.
        expected: What its answer must be.

    Attributes:
        answer: The final one, verified; None until then.
        over: Nothing more comes: the answer is here, or the connection has ended.
        async_id: What the server calls a request that takes its time, or None.
    """

    __slots__ = ("_latch", "answer", "asked", "async_id", "expected", "number", "over")

    def __init__(self, asked: SmbRequest, number: int, expected: Expected) -> None:
        self.asked: Final = asked
        self.number: Final = number
        self.expected: Final = expected
        self.answer: Response | None = None
        self.over = False
        self.async_id: bytes | None = None
        self._latch = Latch()

    def finish(self) -> None:
        """Wakes those who wait for the answer: it is here, or will never be."""
        self.over = True
        self._latch.open()

    def wait(self, seconds: float) -> None:
        """Waits until nothing more comes.

        Args:
            seconds: How long at most.
        """
        self._latch.wait(seconds)

    @property
    def message(self) -> dict[str, _Field[int]]:
        """What smbprotocol asks of a request's header."""
        return {"message_id": _Field(self.number), "command": _Field(self.expected.command)}


class PendingRequests(dict[int, Pending]):
    """The requests under way, by their MessageId; one thread goes through them while others add and remove some."""

    def values(self) -> Any:
        """A copy, made in one step."""
        return list(super().values())
