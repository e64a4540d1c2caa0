"""A lock request: its caller has the turn of this process, and keeps it while the backend is asked again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import msgspec

from exlab_store.errors import StoreError
from exlab_store.locks.held import DEFAULT_LOCK_TIMEOUT, check_timeout, new_owner
from exlab_store.locks.turns import ReservedTurn, forsake_turn, take_turn, task_call, this_thread
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Self

    from exlab_store.locks.turns import Turn
    from exlab_store.model import LockOwner

__all__ = ["LockRequest"]

T = TypeVar("T")


def _never() -> bool:
    return False


class _Cancelled:
    """The caller's question, asked from within a backend: what it raises ends the wait and comes out as it is."""

    __slots__ = ("_question", "fault")

    def __init__(self, question: Callable[[], bool]) -> None:
        self._question = question
        self.fault: Exception | None = None

    def __call__(self) -> bool:
        try:
            return self._question()
        except Exception as error:
            if came_from_signal_handler(error):
                raise
            self.fault = error
            return True


class LockRequest(msgspec.Struct, eq=False):
    """A lock request of one holder for one document.

    The turn stays the holder's while the backend's lock is asked for, lost and asked for again: others of this
    process queue behind it, and no thread waits in the queue for a turn that it has had already.

    Attributes:
        key: The document's key.
        asker: Who asks, and to whom the turn belongs.
        turn: The turn, which has come; None once it was given back.
        deadline: Until when to wait for somebody outside this process, by the monotonic clock.
        cancelled: Asked about every 50 ms while waiting; True ends the wait. None for never.
        reserved: Where the turn came from, and where it goes when the lock cannot be had; None for the queue.
    """

    key: str
    asker: LockOwner
    turn: Turn | None
    deadline: float
    cancelled: Callable[[], bool] | None
    reserved: ReservedTurn | None = None

    @classmethod
    def in_turn(
        cls,
        document: Hashable,
        key: str,
        timeout: float,
        purpose: str,
        cancelled: Callable[[], bool] | None = None,
        holder: Hashable = None,
    ) -> Self:
        """Waits for the turn of this thread, or of the task that it works for.

        Args:
            document: What stands for the document among the turns, see `turn_id`.
            key: The document's key.
            timeout: Seconds to wait, for the turn and for the lock.
            purpose: What for, shown to others who wait.
            cancelled: As the attribute.
            holder: Who asks, where that is not the thread.

        Raises:
            ValueError: The timeout is negative or not finite.
            LockTimeout: The turn did not come in time, or the wait was cancelled.
            LockAlreadyHeld: The holder has the lock already.
        """
        if timeout is not DEFAULT_LOCK_TIMEOUT:
            check_timeout(timeout)
        call = task_call.get()
        if call is not None and not call.over:
            if isinstance(call, ReservedTurn) and call.document == document and (turn := call.take()) is not None:
                until = time.monotonic() + call.patience
                return cls(key, call.owner, turn, until, lambda: call.abandoned, call)
            holder = holder or call.holder  # a change may take a lock that its task holds
        owner = new_owner(purpose)
        try:
            deadline = time.monotonic() + timeout
            turn = take_turn(document, this_thread() if holder is None else holder, owner, timeout, cancelled)
            return cls(key, owner, turn, deadline, cancelled)
        except BaseException:
            forsake_turn(document, owner)  # a signal handler may have raised it when the turn had come
            raise

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def ask(self, hook: Callable[[str, LockOwner, float, Callable[[], bool]], T], *, again: bool = False) -> T:
        """Asks the backend for the lock. Where it cannot be had, the turn is given back.

        Args:
            hook: `RetryingHooks.lock`, or one with its parameters.
            again: It was asked before: an owner's id is that of one acquisition.

        Raises:
            StoreError: As the hook does.
        """
        owner = new_owner(self.asker.purpose) if again else self.asker
        try:
            if self.cancelled is None:
                return hook(self.key, owner, self.deadline, _never)
            cancelled = _Cancelled(self.cancelled)
            try:
                return hook(self.key, owner, self.deadline, cancelled)
            except StoreError:
                if cancelled.fault is not None:
                    raise cancelled.fault from None  # the caller's own, and no fault of the backend
                raise
        except BaseException:
            if self.reserved is None:
                self.end()
            elif self.turn is not None:
                turn, self.turn = self.turn, None
                self.reserved.give_back(turn)
            raise

    def end(self) -> None:
        """Ends the turn, unless that was done; a second call does nothing."""
        turn = self.turn
        if turn is not None:
            turn.end(self.asker)
            self.turn = None
