"""Turns: the threads and tasks of one process that want the same lock queue here, in order.

Only the one whose turn it is asks the operating system or the server. So a process is one contender however many
threads and tasks it has, they are served first come, first served, and whoever asks for a lock that it holds already
is told so at once instead of waiting for itself.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from exlab_store.errors import LockAlreadyHeld, LockTimeout
from exlab_store.forked_child import in_forked_child
from exlab_store.mutex import under_mutex

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from exlab_store.model import LockOwner

__all__ = [
    "ReservedTurn",
    "TaskCall",
    "TaskHolder",
    "Turn",
    "Waiter",
    "ask_for_turn",
    "forsake_turn",
    "take_turn",
    "task_call",
    "this_thread",
    "turn_id",
]

# How often a waiting thread asks whether it was cancelled. Being granted the turn wakes it at once.
_CANCEL_POLL = 0.05

W = TypeVar("W", bound="Waiter")

_threads = threading.local()


def this_thread() -> object:
    """Stands for the running thread; the identifiers of threads are used again when one has ended."""
    try:
        return _threads.token
    except AttributeError:
        token = _threads.token = object()
        return token


class TaskHolder(NamedTuple):
    """A task that wants a lock, or holds it.

    Attributes:
        thread: Stands for the thread of its event loop, see `this_thread`.
        task: The task's identifier.
    """

    thread: object
    task: int


class Waiter(ABC):
    """Somebody in a queue.

    Args:
        holder: Who waits.
        owner: Who waits, for others.
    """

    __slots__ = ("has_turn", "holder", "owner")

    def __init__(self, holder: Hashable, owner: LockOwner) -> None:
        self.holder = holder
        self.owner = owner
        self.has_turn = False

    @abstractmethod
    def wake(self) -> bool:
        """Tells that the turn has come, in the thread that ends its own; False if nobody is there any more."""


class _WaitingThread(Waiter):
    __slots__ = ("gate",)

    def __init__(self, holder: Hashable, owner: LockOwner) -> None:
        super().__init__(holder, owner)
        self.gate = threading.Lock()
        self.gate.acquire()

    def wake(self) -> bool:
        with suppress(RuntimeError):  # it was woken by one that a signal handler's exception has interrupted
            self.gate.release()
        return True


class Turn(msgspec.Struct, eq=False):
    """A place in the queue that has been reached; `end` gives it to the next.

    Only `ask_for_turn` makes one. Of the few objects that a lock takes, each is a struct where that is possible: it is
    made in half the time (0.05 us), and no signal handler runs while it is.
    """

    _document: Hashable
    _holder: Hashable
    _owner: LockOwner
    _waiters: list[Waiter] = []

    def end(self, owner: LockOwner | None = None) -> None:
        """Lets the one that has waited longest go on; to be called once, by any thread.

        Args:
            owner: Who ends the turn: then a second call does nothing, as the turn is another's by then.
        """
        # In place of `under_mutex`, which takes 0.4 us more. A strike loses no note of the acquire: Python runs no
        # handler between `try` and the end of that call, and an RLock knows afterwards whether this thread has it.
        mutex = _mutex
        try:
            mutex.acquire()
            if _turns.get(self._document) is not self:
                return  # a forked child gives back what only its parent holds
            if owner is not None and self._owner is not owner:
                return
            if self._waiters and self._has_woken():
                return
            del _turns[self._document]
        finally:
            try:
                mutex.release()
            except RuntimeError:
                pass  # this thread does not have it, as a signal handler has interrupted the wait for it

    def _has_woken(self) -> bool:
        """Whether one of those who wait has the turn now."""
        while self._waiters:
            waiter = self._waiters[0]
            del self._waiters[0]  # no call, so that no signal handler runs before it is known whose turn it is
            self._holder = waiter.holder
            self._owner = waiter.owner
            waiter.has_turn = True
            try:
                woken = waiter.wake()
            except BaseException:  # of a signal handler: nobody else would wake it
                waiter.wake()
                raise
            # Who is not woken may have been ended by the garbage collector just now, and with it this turn.
            if woken or not waiter.has_turn:
                return True
            waiter.has_turn = False
        return False

    def enqueue(self, waiter: Waiter) -> None:
        """Puts a waiter at the end of the queue; the mutex is held by the caller."""
        holder = self._holder
        # A thread that waits for a task of the event loop that it runs would wait for itself.
        if holder == waiter.holder or (isinstance(holder, TaskHolder) and holder.thread is waiter.holder):
            raise LockAlreadyHeld(
                "the lock is held by the one who asks for it",
                hint="Pass the held lock on (lock=...) instead of taking it a second time.",
            )
        self._waiters.append(waiter)

    def withdraw(self, waiter: Waiter) -> LockOwner | None:
        """Takes a waiter out of the queue and tells who is before it; None if its turn has come meanwhile."""
        return under_mutex(_mutex, lambda: self._withdraw(waiter))

    def _withdraw(self, waiter: Waiter) -> LockOwner | None:
        if waiter.has_turn:
            waiter.has_turn = False  # from here on it is the caller's
            return None
        if waiter in self._waiters:  # it may have been passed over
            self._waiters.remove(waiter)
        return self._owner

    def withdraw_owner(self, owner: LockOwner) -> None:
        """Takes whoever waits for this owner out of the queue; the mutex is held by the caller."""
        for waiter in [waiter for waiter in self._waiters if waiter.owner is owner]:
            self._waiters.remove(waiter)

    def give_up(self, waiter: Waiter, timeout: float) -> None:
        """Ends a wait whose time is over.

        Raises:
            LockTimeout: Unless the turn has come meanwhile.
        """
        before = self.withdraw(waiter)
        if before is not None:
            message = f"waited {timeout:g} s for another task or thread of this process to release the lock"
            raise LockTimeout(message, holder=before)


def turn_id(store: object, address: str | None, key: str) -> Hashable:
    """What stands for a document among the turns of this process.

    Two stores at one location share their turns; nameless ones (a fresh memory store) share nothing.

    Args:
        store: The store.
        address: What the URL of each of its documents begins with; None for a store that nobody else can open.
        key: The document's key.
    """
    return (id(store), key) if address is None else address + key


# Taken in one step, see signal_handlers. For queues: a turn whose place is free is taken in one step without it
# (`dict.setdefault`), as to take this too costs 0.15 us. Re-entrant: the garbage collector may end a task that waits
# here, at any moment, in any thread.
_mutex = threading.RLock()
_turns: dict[Hashable, Turn] = {}


def _forget_in_child() -> None:
    # The threads that held or awaited these turns do not exist in a forked child.
    global _mutex
    _mutex = threading.RLock()
    _turns.clear()


in_forked_child(_forget_in_child)


def ask_for_turn(
    document: Hashable, holder: Hashable, owner: LockOwner, waiting: Callable[[Hashable, LockOwner], W]
) -> tuple[Turn, W | None]:
    """Takes the turn if it is free, and otherwise a place in its queue.

    Args:
        document: What stands for the document that is to be locked, see `turn_id`.
        holder: Who asks: a thread, a task, or another value that stands for one flow of control.
        owner: Who asks, for those who wait in vain.
        waiting: Makes the waiter, from holder and owner, if one is needed.

    Returns:
        The turn, and None if it is the holder's, to be ended exactly once; otherwise who is to be woken.

    Raises:
        LockAlreadyHeld: It is this holder's turn already.
    """

    def ask() -> tuple[Turn, W | None]:
        own = Turn(document, holder, owner)
        while (turn := _turns.setdefault(document, own)) is not own:
            waiter = waiting(holder, owner)
            turn.enqueue(waiter)
            if _turns.get(document) is turn:  # the garbage collector may have ended it in between
                return turn, waiter
        return own, None

    return under_mutex(_mutex, ask)


def take_turn(
    document: Hashable,
    holder: Hashable,
    owner: LockOwner,
    timeout: float,
    cancelled: Callable[[], bool] | None = None,
) -> Turn:
    """Waits, in this thread, until it is the holder's turn.

    Args:
        document: As for `ask_for_turn`.
        holder: As for `ask_for_turn`.
        owner: Who asks, for those who wait in vain.
        timeout: Seconds to wait; 0 tries once.
        cancelled: Asked every 50 ms while waiting; True ends the wait.

    Returns:
        The turn, to be ended exactly once.

    Raises:
        LockAlreadyHeld: It is this holder's turn already.
        LockTimeout: The time is over, or the wait was cancelled.
    """
    own = Turn(document, holder, owner)
    if _turns.setdefault(document, own) is own:  # one step, for which the mutex is not needed
        return own
    turn, waiter = ask_for_turn(document, holder, owner, _WaitingThread)
    if waiter is None:
        return turn
    try:
        if _wait(waiter.gate, timeout, cancelled):
            return turn
    except BaseException:
        if turn.withdraw(waiter) is None:
            turn.end(owner)
        raise
    turn.give_up(waiter, timeout)
    return turn


def forsake_turn(document: Hashable, owner: LockOwner) -> None:
    """Ends what is left of a request for a turn that an exception has interrupted, wherever that was.

    Args:
        document: As for `ask_for_turn`.
        owner: Who asked.
    """

    def forsake() -> None:
        turn = _turns.get(document)
        if turn is not None:
            turn.end(owner)
            turn.withdraw_owner(owner)

    under_mutex(_mutex, forsake)


def _wait(gate: threading.Lock, timeout: float, cancelled: Callable[[], bool] | None) -> bool:
    if cancelled is None:
        return gate.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
    deadline = time.monotonic() + timeout
    while not cancelled():
        remaining = deadline - time.monotonic()
        if gate.acquire(timeout=max(0.0, min(remaining, _CANCEL_POLL))):
            return True
        if remaining <= 0:
            return False
    return False


class TaskCall:
    """A call that a task makes on a worker thread.

    Args:
        holder: The task: it holds the locks that the call takes, and waits while the call is under way.
    """

    __slots__ = ("holder", "over")

    def __init__(self, holder: TaskHolder) -> None:
        self.holder = holder
        self.over = False
        """Whether the task goes on. What the call has scheduled elsewhere has inherited its context."""

    def end(self) -> None:
        """The call has ended."""
        self.over = True


class ReservedTurn(TaskCall):
    """A call for a lock whose turn the task has waited for on its event loop.

    Args:
        holder: The task.
        document: What stands for the document that is to be locked, see `turn_id`.
        owner: Who asks for the lock.
        turn: The turn.
    """

    __slots__ = ("_turns", "abandoned", "document", "owner", "patience")

    def __init__(self, holder: TaskHolder, document: Hashable, owner: LockOwner, turn: Turn) -> None:
        super().__init__(holder)
        self.document = document
        self.owner = owner
        self.patience = 0.0
        """Seconds that the thread may wait for somebody outside this process."""
        self.abandoned = False
        """Whether nobody wants the lock any more."""
        self._turns = [turn]

    @property
    def taken(self) -> bool:
        """Whether the lock was taken, to which the turn now belongs."""
        return not self._turns

    def take(self) -> Turn | None:
        """The turn, for the first who asks."""
        try:
            return self._turns.pop()
        except IndexError:
            return None

    def give_back(self, turn: Turn) -> None:
        """Takes the turn back, as the lock could not be had."""
        self._turns.append(turn)
        if self.abandoned:
            self.end()

    def abandon(self) -> None:
        """Asks the thread that waits for the lock to give up."""
        self.abandoned = True

    def end(self) -> None:
        """Ends the turn unless a lock has it; a thread that still asks for the lock ends it later."""
        super().end()
        self.abandoned = True
        turn = self.take()
        if turn is not None:
            turn.end()


# Seen by the calls that a task makes on worker threads, and by what they schedule.
task_call: ContextVar[TaskCall | None] = ContextVar("exlab_store_task_call", default=None)
