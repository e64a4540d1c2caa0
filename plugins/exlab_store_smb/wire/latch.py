"""A gate that one thread opens for others, and that a signal handler's exception cannot jam."""

from __future__ import annotations

import threading

__all__ = ["Latch"]


class Latch:
    """A `threading.Event` for which a signal handler may run at any moment.

    An Event is Python code around a lock. What a handler raises in its ``wait`` leaves that lock held now and then, and
    the thread that receives from the server then waits for ever in ``set``.
    """

    __slots__ = ("_shut",)

    def __init__(self) -> None:
        self._shut = threading.Lock()
        self._shut.acquire()

    def open(self) -> None:
        """Lets through all who wait; a second call does nothing."""
        try:
            self._shut.release()
        except RuntimeError:
            pass  # it is open, or one of those who wait is passing and opens it again

    def wait(self, seconds: float) -> bool:
        """Waits until it is open.

        Args:
            seconds: How long at most; 0 for no wait.

        Returns:
            Whether it is open. An exception of a signal handler may shut it again: who waits looks from time to time
            whether there is anything left to wait for.
        """
        if not self._shut.acquire(True, seconds):
            return False
        self.open()
        return True
