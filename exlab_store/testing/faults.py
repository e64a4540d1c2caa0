"""Faults to order: an observer that makes a store fail the way networks, disks and servers do.

A test says which call of which hook meets what, and the program under test shows what it makes of it::

    faults = FaultPlan(
        before("atomic_write", call=2, raises=StorageFull("the disk is full")),
        lost_answer("atomic_write", call=3),
        stale(call=1),
    )
    store = open_store("memory://", observers=[faults], retry=None)

A store with a plan makes each of its calls through a single hook, never through one that combines several
(``lock_and_read``, ``write_and_release``).

Calls are counted from 1, for each hook, over all threads. The same plan over the same calls does the same again; a
`FaultPlan.seeded` decides for each call from the seed, the hook and the call's number alone.
"""

from __future__ import annotations

import copy
import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import msgspec

from exlab_store.errors import BackendUnavailable, StoreError
from exlab_store.hookspecs import hookimpl
from exlab_store.model import Snapshot

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from exlab_store.model import HeldLock, Version

__all__ = [
    "Fault",
    "FaultPlan",
    "Hook",
    "Injected",
    "after",
    "before",
    "delayed",
    "lost_answer",
    "lost_lock",
    "stale",
]

Hook: TypeAlias = Literal["atomic_write", "lock", "read_snapshot", "list_keys", "delete"]
Effect: TypeAlias = Literal["raise before", "raise after", "lose the answer", "delay", "lose the lock", "stale"]


class Fault(msgspec.Struct, frozen=True):
    """One fault of a plan; the functions of this module make them.

    Attributes:
        effect: What happens.
        hook: To which hook.
        call: To which call of it, counted from 1.
        times: To how many calls in a row; None for that and all further ones.
        error: What is raised, where something is.
        seconds: How long a call is delayed.
    """

    effect: Effect
    hook: Hook
    call: int = 1
    times: int | None = 1
    error: StoreError | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.hook not in get_args(Hook):
            raise ValueError(f"there is no hook {self.hook!r}; the hooks are {', '.join(get_args(Hook))}")
        if self.call < 1 or (self.times is not None and self.times < 1) or self.seconds < 0:
            raise ValueError("calls are counted from 1, a fault happens at least once, and a delay is not negative")

    def meets(self, call: int) -> bool:
        """Whether it happens to a call.

        Args:
            call: The number of the call of its hook.
        """
        return self.call <= call and (self.times is None or call < self.call + self.times)


class Injected(msgspec.Struct, frozen=True):
    """A fault that has happened.

    Attributes:
        hook: The hook.
        call: The number of its call.
        effect: What happened.
    """

    hook: Hook
    call: int
    effect: Effect


def before(hook: Hook, *, call: int = 1, times: int | None = 1, raises: StoreError | None = None) -> Fault:
    """A call that fails without having done anything.

    Args:
        hook: Which hook.
        call: Which call of it, counted from 1.
        times: How many calls in a row; None for good.
        raises: What the caller gets; `BackendUnavailable` if not given.
    """
    return Fault("raise before", hook, call, times, raises)


def after(hook: Hook, *, call: int = 1, times: int | None = 1, raises: StoreError) -> Fault:
    """A call that does its work and then fails.

    Args:
        hook: Which hook.
        call: Which call of it, counted from 1.
        times: How many calls in a row; None for good.
        raises: What the caller gets: a `WriteOutcomeUnknown`, say.
    """
    return Fault("raise after", hook, call, times, raises)


def lost_answer(hook: Hook, *, call: int = 1, times: int | None = 1) -> Fault:
    """A call that does its work, and whose caller gets `BackendUnavailable`: the answer was lost on the way.

    A backend has to raise `WriteOutcomeUnknown` then; this is for programs, and for backends, that do not know that.

    Args:
        hook: Which hook.
        call: Which call of it, counted from 1.
        times: How many calls in a row; None for good.
    """
    return Fault("lose the answer", hook, call, times)


def delayed(hook: Hook, *, seconds: float, call: int = 1, times: int | None = None) -> Fault:
    """Calls that take longer.

    Args:
        hook: Which hook.
        seconds: How much longer.
        call: From which call of it on, counted from 1.
        times: How many calls in a row; None for good.
    """
    return Fault("delay", hook, call, times, None, seconds)


def lost_lock(
    *, call: int = 1, times: int | None = 1, hook: Literal["atomic_write", "delete"] = "atomic_write"
) -> Fault:
    """A lock that is lost right before a write under it.

    Args:
        call: Before which call of the hook, counted from 1; a call without a lock loses none.
        times: Before how many calls in a row; None for good.
        hook: Which hook.
    """
    return Fault("lose the lock", hook, call, times)


def stale(*, call: int = 1, times: int | None = 1) -> Fault:
    """A read that gives the document as it was before its last change; a document that never changed is read as it is.

    Args:
        call: Which read, counted from 1.
        times: How many reads in a row; None for good.
    """
    return Fault("stale", "read_snapshot", call, times)


class FaultPlan:
    """An observer that injects faults: pass it in ``observers=`` of `exlab_store.open_store`.

    Args:
        faults: What happens, to which calls. Several faults may meet one call; the first of a kind counts.
    """

    def __init__(self, *faults: Fault) -> None:
        self._faults = faults
        self._mutex = threading.Lock()
        self._calls: dict[Hook, int] = {}
        self._injected: list[Injected] = []
        self._states: dict[str, list[Snapshot]] = {}

    @classmethod
    def seeded(cls, seed: int, *, rate: float, faults: Sequence[Fault]) -> FaultPlan:
        """A plan that gives every call of a fault's hook the same chance to meet it.

        Args:
            seed: The same seed gives the same faults to the same calls.
            rate: The chance, 0 to 1.
            faults: What may happen; their ``call`` and ``times`` do not count.
        """
        if not 0 <= rate <= 1:
            raise ValueError("rate is a chance between 0 and 1")
        return _SeededPlan(seed, rate, tuple(faults))

    @property
    def injected(self) -> list[Injected]:
        """The faults that have happened, in order."""
        with self._mutex:
            return list(self._injected)

    def calls(self, hook: Hook) -> int:
        """How often a hook was called, retries included.

        Args:
            hook: Which hook.
        """
        with self._mutex:
            return self._calls.get(hook, 0)

    def _met(self, hook: Hook, call: int) -> list[Fault]:
        return [fault for fault in self._faults if fault.hook == hook and fault.meets(call)]

    def _enter(self, hook: Hook) -> _Call:
        with self._mutex:
            number = self._calls[hook] = self._calls.get(hook, 0) + 1
        call = _Call(self, hook, number, self._met(hook, number))
        call.begin()
        return call

    def note(self, injected: Injected) -> None:
        """Records a fault that has happened.

        Args:
            injected: The fault.
        """
        with self._mutex:
            self._injected.append(injected)

    @hookimpl(wrapper=True)
    def atomic_write(self, key: str, data: bytes, lock: HeldLock | None) -> Generator[None, Version, Version]:
        """Wraps the hook."""
        call = self._enter("atomic_write")
        call.lose(lock)
        version = yield
        self._remember(key, Snapshot(data, version))
        call.end()
        return version

    @hookimpl(wrapper=True)
    def read_snapshot(self, key: str) -> Generator[None, Snapshot, Snapshot]:
        """Wraps the hook."""
        call = self._enter("read_snapshot")
        snapshot = yield
        self._remember(key, snapshot)
        call.end()
        if call.takes("stale"):
            return self._states[key][0]
        return snapshot

    @hookimpl(wrapper=True)
    def lock(self) -> Generator[None, HeldLock, HeldLock]:
        """Wraps the hook."""
        call = self._enter("lock")
        held = yield
        try:
            call.end()
        except StoreError:
            with suppress(Exception):  # the caller gets what was ordered
                held.release()  # the caller never learns of the lock, so nobody else would
            raise
        return held

    @hookimpl(wrapper=True)
    def list_keys(self) -> Generator[None, Any, Any]:
        """Wraps the hook."""
        call = self._enter("list_keys")
        keys = yield
        call.end()
        return keys

    @hookimpl(wrapper=True)
    def delete(self, lock: HeldLock | None) -> Generator[None, None, None]:
        """Wraps the hook."""
        call = self._enter("delete")
        call.lose(lock)
        yield
        call.end()

    def _remember(self, key: str, snapshot: Snapshot) -> None:
        """Keeps a document's last two states."""
        with self._mutex:
            states = self._states.setdefault(key, [])
            if not states or states[-1].data != snapshot.data:
                states.append(snapshot)
                del states[:-2]


class _SeededPlan(FaultPlan):
    def __init__(self, seed: int, rate: float, faults: tuple[Fault, ...]) -> None:
        super().__init__(*faults)
        self._seed = seed
        self._rate = rate

    def _met(self, hook: Hook, call: int) -> list[Fault]:
        chances = [
            (fault, random.Random(f"{self._seed} {hook} {call} {number}").random())  # noqa: S311  # no secret
            for number, fault in enumerate(self._faults)
        ]
        return [fault for fault, chance in chances if fault.hook == hook and chance < self._rate]


class _Call:
    """One call of a hook, and the faults that it meets."""

    def __init__(self, plan: FaultPlan, hook: Hook, number: int, faults: list[Fault]) -> None:
        self._plan = plan
        self._hook: Hook = hook
        self._number = number
        self._faults = {fault.effect: fault for fault in reversed(faults)}

    def takes(self, effect: Effect) -> Fault | None:
        """The fault of this kind, if the call meets one; it then counts as having happened."""
        fault = self._faults.get(effect)
        if fault is not None:
            self._plan.note(Injected(self._hook, self._number, effect))
        return fault

    def begin(self) -> None:
        """What happens before the hook's work."""
        slow = self.takes("delay")
        if slow is not None:
            time.sleep(slow.seconds)
        self._raise("raise before", "the connection was lost before the request (injected)")

    def lose(self, lock: HeldLock | None) -> None:
        """Takes the lock away from its holder."""
        if lock is not None and self.takes("lose the lock"):
            lock.release()

    def end(self) -> None:
        """What happens after the hook's work."""
        self._raise("raise after", "the call failed after its work (injected)")
        self._raise("lose the answer", "the connection was lost before the answer (injected)")

    def _raise(self, effect: Effect, message: str) -> None:
        fault = self.takes(effect)
        if fault is not None:
            raise copy.copy(fault.error) if fault.error is not None else BackendUnavailable(message)
