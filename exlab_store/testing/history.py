"""Concurrent histories of one document, and whether they are linearizable.

A history is linearizable if every operation can be given one moment between its call and its return so that the
outcomes are those of the operations done one after the other in the order of these moments (Herlihy and Wing, 1990).
The check is that of Wing and Gong with Lowe's memory of configurations (2017): it looks for such an order and
remembers what it has tried. An operation whose outcome is unknown may take effect at any moment after its call, or
never.

Use it on its own: record what your clients do with `Recorder`, then `check` the history.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable, Iterable

__all__ = ["ABSENT_VALUE", "Entry", "Kind", "Operation", "Recorder", "Violation", "check"]

Kind: TypeAlias = Literal["read", "write", "cas", "delete"]

_WRITERS = frozenset({"write", "cas"})

ABSENT_VALUE = None
"""The state of a document that does not exist."""


class Operation(msgspec.Struct, frozen=True):
    """What a client did and what came of it.

    Times are those of one clock for all clients: ``time.monotonic_ns()`` on one machine.

    Attributes:
        client: Who; a client does one thing at a time.
        kind: ``read`` gives ``found``; ``write`` sets ``new`` whatever is there; ``cas`` sets ``new`` where
            ``expected`` is there, and has failed otherwise; ``delete`` takes away what is there, and has failed where
            there was nothing. An update under a lock is a ``cas`` from what it read to what it wrote.
        called: When it began.
        returned: When it ended; None if its outcome is unknown.
        found: What a read gave.
        expected: What a ``cas`` was to replace.
        new: What a ``write`` or a ``cas`` wrote.
        succeeded: False for a ``cas`` that was refused, and for a ``delete`` that found nothing.
    """

    client: str
    kind: Kind
    called: int
    returned: int | None = None
    found: str | None = None
    expected: str | None = None
    new: str | None = None
    succeeded: bool = True


class Violation(msgspec.Struct, frozen=True):
    """Why a history is not linearizable.

    Attributes:
        operation: The one that returned first of those that no order has room for.
        explained: How many operations could be put in order before it.
        state: What the document then held.
    """

    operation: Operation
    explained: int
    state: str | None

    def __str__(self) -> str:
        return (
            f"after {self.explained} operations in order the document holds {self.state!r}, "
            f"and nothing explains {self.operation}"
        )


class Entry:
    """An operation that goes on; `Recorder.operation` makes one. Fill in what comes of it."""

    __slots__ = ("expected", "found", "known", "new", "succeeded")

    def __init__(self, expected: str | None, new: str | None) -> None:
        self.expected = expected
        self.new = new
        self.found: str | None = None
        self.succeeded = True
        self.known = True


class Recorder:
    """Collects the operations of the threads of one process.

    Clients in several processes each have one; put their `operations` together.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._operations: list[Operation] = []

    @contextmanager
    def operation(
        self, client: str, kind: Kind, *, expected: str | None = None, new: str | None = None
    ) -> Generator[Entry]:
        """Records an operation: called when the block begins, returned when it ends.

        Args:
            client: The client's name.
            kind: See `Operation`.
            expected: See `Operation`; may be set in the block.
            new: See `Operation`; may be set in the block.

        Yields:
            The entry: set ``found`` of a read, ``succeeded = False`` of a refused ``cas`` or ``delete``, and
            ``known = False`` where the outcome is unknown. A block that raises records nothing: say in it what is
            known.
        """
        entry = Entry(expected, new)
        called = time.monotonic_ns()
        yield entry
        returned = time.monotonic_ns() if entry.known else None
        done = Operation(client, kind, called, returned, entry.found, entry.expected, entry.new, entry.succeeded)
        with self._mutex:
            self._operations.append(done)

    @property
    def operations(self) -> list[Operation]:
        """What was recorded, in the order in which it ended."""
        with self._mutex:
            return list(self._operations)


class _Event:
    """A call or a return in the list of what has not been put in order yet."""

    __slots__ = ("after", "before", "call", "number", "operation", "returns")

    def __init__(self, number: int, operation: Operation, *, call: bool) -> None:
        self.number = number
        self.operation = operation
        self.call = call
        self.returns: _Event | None = None
        self.before: _Event = self  # until it is linked
        self.after: _Event | None = None


def check(operations: Iterable[Operation], *, initial: str | None = ABSENT_VALUE) -> Violation | None:
    """Looks for an order that explains a history of one document.

    Args:
        operations: All operations of all clients, in any order. Values that writers write should differ from each
            other: the check then takes milliseconds, and finds more.
        initial: What the document held before; None for nothing.

    Returns:
        None if the history is linearizable; otherwise the operation that cannot be explained.
    """
    history, phantoms = _bounded(list(operations))
    if not phantoms:
        return _Search(history, initial).run()
    if _Search(history, initial).run() is None:
        return None
    # A write that nobody saw can only be why a cas was refused, or what a delete took away. Granting every such excuse
    # accepts too much, so what it does not save is a violation; only the rare rest needs the search that tries each at
    # every moment.
    violation = _Search(history, initial, excuse_after=min(phantom.called for phantom in phantoms)).run()
    return violation or _Search(history + phantoms, initial).run()


def _bounded(operations: list[Operation]) -> tuple[list[Operation], list[Operation]]:
    """The history with as few unknown outcomes as can be, and apart from it the writes that nobody saw.

    Each unknown outcome doubles the work in the worst case. A read without an outcome says nothing. A value that one
    operation alone writes and that somebody saw was written, and before the one who saw it returned. A deletion writes
    what several may write: nothing.
    """
    writers = Counter(operation.new for operation in operations if operation.kind in _WRITERS)
    seen: dict[str | None, int] = {}
    for operation in operations:
        if operation.returned is not None and operation.succeeded and operation.kind in {"read", "cas"}:
            value = operation.found if operation.kind == "read" else operation.expected
            seen[value] = min(seen.get(value, operation.returned), operation.returned)
    history: list[Operation] = []
    phantoms: list[Operation] = []
    for operation in operations:
        ambiguous = operation.kind == "delete" or (operation.kind != "read" and writers[operation.new] > 1)
        if operation.returned is not None or ambiguous:
            history.append(operation)
        elif operation.kind != "read" and operation.new in seen:
            history.append(msgspec.structs.replace(operation, returned=seen[operation.new]))
        elif operation.kind != "read":
            phantoms.append(operation)
    return history, phantoms


class _Search:
    def __init__(self, history: list[Operation], initial: str | None, *, excuse_after: int | None = None) -> None:
        self._state = initial
        self._excuse_after = excuse_after
        self._must = sum(operation.returned is not None for operation in history)
        self._head = _linked(history)
        # What is done: everything before the first number, and the bits of the second from there on. Short numbers
        # make the memory of 50,000 operations small.
        self._done = (0, 0)
        self._tried: set[Hashable] = set()
        self._order: list[tuple[_Event, str | None, tuple[int, int]]] = []
        self._best = (-1, initial, self._head.operation)

    def run(self) -> Violation | None:
        explained = 0
        event = self._head.after
        while explained < self._must:
            if event is not None and event.call:
                after, fits = self._apply(event.operation)
                done = _with(self._done, event.number)
                if fits and (done, after) not in self._tried:
                    self._tried.add((done, after))
                    self._order.append((event, self._state, self._done))
                    self._state, self._done = after, done
                    _lift(event)
                    explained += event.operation.returned is not None
                    event = self._head.after
                else:
                    event = event.after
                continue
            # A return: what has ended here had no place before it. Or the end: only unknown outcomes are left.
            if event is not None and explained > self._best[0]:
                self._best = (explained, self._state, event.operation)
            if not self._order:
                return self._violation()
            last, self._state, self._done = self._order.pop()
            _unlift(last)
            explained -= last.operation.returned is not None
            event = last.after
        return None

    def _apply(self, operation: Operation) -> tuple[str | None, bool]:
        """The state after an operation, and whether its outcome fits the state before."""
        state = self._state
        if operation.kind == "read":
            return state, operation.found == state
        if operation.kind == "write":
            return operation.new, True
        excused = self._excuse_after is not None and (operation.returned or 0) >= self._excuse_after
        if operation.kind == "delete":
            if operation.returned is None or operation.succeeded:
                there = state is not ABSENT_VALUE or operation.returned is None
                return ABSENT_VALUE, there or excused
            return state, state is ABSENT_VALUE
        if operation.succeeded:
            return operation.new, operation.expected == state
        return state, operation.expected != state or excused

    def _violation(self) -> Violation:
        explained, state, operation = self._best
        return Violation(operation, explained, state)


def _with(done: tuple[int, int], number: int) -> tuple[int, int]:
    base, bits = done
    bits |= 1 << (number - base)
    while bits & 1:
        bits >>= 1
        base += 1
    return base, bits


def _linked(history: list[Operation]) -> _Event:
    events: list[tuple[float, int, _Event]] = []
    for number, operation in enumerate(sorted(history, key=lambda operation: operation.called)):
        call = _Event(number, operation, call=True)
        events.append((operation.called, 0, call))
        if operation.returned is not None:
            call.returns = _Event(number, operation, call=False)
            events.append((operation.returned, 1, call.returns))
    # A call at the very moment of a return counts as concurrent with it.
    events.sort(key=lambda item: item[:2])
    head = _Event(-1, Operation("", "read", 0), call=False)
    last = head
    for _, _, event in events:
        last.after, event.before = event, last
        last = event
    return head


def _lift(call: _Event) -> None:
    """Takes a call and its return out of the list."""
    for event in (call, call.returns):
        if event is not None:
            event.before.after = event.after
            if event.after is not None:
                event.after.before = event.before


def _unlift(call: _Event) -> None:
    """Puts them back where they were; the events themselves have kept their neighbours."""
    for event in (call.returns, call):
        if event is not None:
            event.before.after = event
            if event.after is not None:
                event.after.before = event
