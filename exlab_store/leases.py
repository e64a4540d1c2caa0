"""Locks that end with time: the holder's lease, and the silence of a holder as others see it.

For a storage system without locks of its own. Each side trusts its own clock alone: the holder counts from before it
asked, whoever waits counts from after it has looked. So the holder knows that its lease is over before anybody else
takes the lock.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from exlab_store.errors import BackendUnavailable, LockLost
from exlab_store.mutex import Latch, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lease", "Silence"]

# Two clocks may run at different rates, by far less than this.
_MARGIN: Final = 1.1

# `time.monotonic` stands still on Linux and macOS while the machine sleeps, and others do not wait for it.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


class Lease:
    """The time for which a lock is held, prolonged in a thread of its own until `end`.

    Args:
        duration: Seconds for which others leave the lock alone after each sign of life.
        renew: Gives the sign of life: changes what others watch, within a deadline of its own. It is called every third
            of the duration, and sooner again after an error. `LockLost` from it ends the lease; after any other error
            the lease goes on for the time that is left of it.
        began: `Lease.now`, before the lock was asked for.

    Raises:
        BackendUnavailable: The system gives no thread; the lock cannot be kept.
    """

    def __init__(self, duration: float, renew: Callable[[], None], began: float) -> None:
        self.duration: Final = duration
        self._renew = renew
        self._until = began + duration
        self._lost = False
        self._is_ended = False
        self._ended = Latch()
        self._process = os.getpid()  # a forked child has no thread that prolongs it
        try:
            start_thread(threading.Thread(target=self._prolong, name="exlab-store-lease", daemon=True))
        except RuntimeError as error:
            raise BackendUnavailable(f"there is no thread that prolongs the lock: {error}", exhausted=True) from error

    @staticmethod
    def now() -> float:
        """The holder's clock, in seconds; it goes on while the machine sleeps."""
        if sys.platform == "win32" or _CLOCK is None:
            return time.monotonic()
        return time.clock_gettime(_CLOCK)

    @property
    def lasts(self) -> bool:
        """Whether the lock is still held, as far as the holder knows."""
        is_over = self._lost or self._is_ended or self._process != os.getpid()
        return not is_over and self.now() < self._until

    def ensure_lasting(self) -> None:
        """Checks that the lock is still held, as far as the holder knows; it asks nobody.

        Raises:
            LockLost: It was released or taken over, its time is over, or this is a forked child of its holder.
        """
        if self._process != os.getpid():
            raise LockLost("the lock belongs to the process that this one was forked from")
        if self._is_ended:
            raise LockLost("the lock was released")
        if not self.lasts:
            raise LockLost(
                "somebody else has taken the lock over"
                if self._lost
                else f"the lock could not be prolonged for {self.duration:g} s"
            )

    def end(self) -> None:
        """Prolongs it no more. A renewal that is under way is not waited for.

        A second call does nothing, and so does one in a forked child.
        """
        if self._process == os.getpid():
            self._is_ended = True
            self._ended.open()

    def _prolong(self) -> None:
        pause = self.duration / 3
        while not self._ended.wait(pause) and not self._is_ended and self.now() < self._until:
            asked = self.now()
            try:
                self._renew()
            except LockLost:
                self._lost = True
                return
            except Exception:  # the next attempt may succeed, and what is left of the time tells the holder
                pause = self.duration / 12
            else:
                self._until = asked + self.duration
                pause = self.duration / 3


class Silence:
    """For how long the holder of a lock has given no sign of life, by the clock of the one who waits."""

    def __init__(self) -> None:
        self._mark: object = None
        self._since = 0.0

    def outlasts(self, mark: object, duration: float) -> bool:
        """Whether the holder has been silent for longer than its lease, so that the lock may be taken over.

        Args:
            mark: What was just seen of the lock, and changes with each sign of life.
            duration: The lease, in seconds.
        """
        now = time.monotonic()
        if mark != self._mark:
            self._mark, self._since = mark, now
        return now - self._since > _MARGIN * duration
