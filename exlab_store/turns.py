"""Turns: the threads of one process that want the same lock queue here, in order.

Only the thread whose turn it is asks the operating system or the server. So a process is one contender however
many threads it has, its threads are served first come, first served, and a thread that asks for a lock it holds
already is told so at once instead of waiting for itself.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from exlab_store.errors import LockAlreadyHeld, LockTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from exlab_store.model import LockOwner

__all__ = ["Turn", "take_turn"]

# How often a waiting thread asks whether it was cancelled. Being granted the turn wakes it at once.
_CANCEL_POLL = 0.05


class _Waiter:
    __slots__ = ("holder", "owner", "wake")

    def __init__(self, holder: Hashable, owner: LockOwner) -> None:
        self.holder = holder
        self.owner = owner
        self.wake = threading.Lock()
        self.wake.acquire()


class Turn:
    """A place in the queue that has been reached; `end` gives it to the next.

    Only `take_turn` makes one.
    """

    __slots__ = ("_holder", "_owner", "_place", "_waiters")

    def __init__(self, place: Hashable, holder: Hashable, owner: LockOwner) -> None:
        self._place = place
        self._holder = holder
        self._owner = owner
        self._waiters: deque[_Waiter] = deque()

    def end(self) -> None:
        """Lets the holder that has waited longest go on; to be called once, by any thread."""
        with _mutex:
            if _turns.get(self._place) is not self:
                return  # a forked child gives back what only its parent holds
            if self._waiters:
                waiter = self._waiters.popleft()
                self._holder = waiter.holder
                self._owner = waiter.owner
                waiter.wake.release()
            else:
                del _turns[self._place]

    def enqueue(self, holder: Hashable, owner: LockOwner) -> _Waiter:
        """Puts a waiter at the end of the queue; the mutex is held by the caller."""
        if self._holder == holder:
            raise LockAlreadyHeld(
                "the lock is held by the one who asks for it",
                hint="Pass the held lock on (lock=...) instead of taking it a second time.",
            )
        waiter = _Waiter(holder, owner)
        self._waiters.append(waiter)
        return waiter

    def withdraw(self, waiter: _Waiter) -> LockOwner | None:
        """Takes a waiter out of the queue and tells who is before it; None when its turn has come meanwhile."""
        with _mutex:
            if waiter not in self._waiters:
                return None
            self._waiters.remove(waiter)
            return self._owner


_mutex = threading.Lock()
_turns: dict[Hashable, Turn] = {}


def _forget_in_child() -> None:
    # The threads that held or awaited these turns do not exist in a forked child.
    global _mutex
    _mutex = threading.Lock()
    _turns.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def take_turn(
    place: Hashable,
    holder: Hashable,
    owner: LockOwner,
    timeout: float,
    cancelled: Callable[[], bool] | None = None,
) -> Turn:
    """Waits until it is the holder's turn.

    Args:
        place: What the turn is for: the same for all who exclude each other.
        holder: Who asks: the thread's identifier, or another value that stands for one flow of control.
        owner: Who asks, for those who wait in vain.
        timeout: Seconds to wait; 0 tries once.
        cancelled: Asked every 50 ms while waiting; True ends the wait.

    Returns:
        The turn, to be ended exactly once.

    Raises:
        LockAlreadyHeld: It is this holder's turn already.
        LockTimeout: The time is over, or the wait was cancelled.
    """
    with _mutex:
        turn = _turns.get(place)
        if turn is None:
            turn = _turns[place] = Turn(place, holder, owner)
            return turn
        waiter = turn.enqueue(holder, owner)
    try:
        if _wait(waiter, timeout, cancelled):
            return turn
    except BaseException:
        if turn.withdraw(waiter) is None:
            turn.end()
        raise
    before = turn.withdraw(waiter)
    if before is None:
        return turn
    raise LockTimeout(f"waited {timeout:g} s for another thread of this process to release the lock", holder=before)


def _wait(waiter: _Waiter, timeout: float, cancelled: Callable[[], bool] | None) -> bool:
    if cancelled is None:
        return waiter.wake.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
    deadline = time.monotonic() + timeout
    while not cancelled():
        remaining = deadline - time.monotonic()
        if waiter.wake.acquire(timeout=max(0.0, min(remaining, _CANCEL_POLL))):
            return True
        if remaining <= 0:
            return False
    return False
