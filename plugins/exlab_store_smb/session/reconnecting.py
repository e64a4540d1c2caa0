"""One store's part of the connection that it shares: the present connection, a new one after a loss, and its locks."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from exlab_store import NotSupported, StoreError
from exlab_store_smb.session.sharing import join, leave
from exlab_store_smb.wire.deadline import Deadline

if TYPE_CHECKING:
    from exlab_store_smb.session.chains import Chains
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.options import SmbOptions

__all__ = ["Links", "LockOnLink"]

_LAST_WORD = 2.0  # seconds that a connection may take which only ends the one before it


class LockOnLink(Protocol):
    """The part of a lock that its connection uses."""

    link: Link

    def release(self) -> None:
        """Releases it, and waits for no answer."""
        ...

    def give_up(self, deadline: Deadline) -> None:
        """Releases it, or ends its connection."""
        ...


class Links:
    """The connections of a store, one after the other. It knows nothing of the store, and so can outlive it.

    Args:
        options: The server and the account.
        share: The share's name.
    """

    def __init__(self, options: SmbOptions, share: str) -> None:
        self._timeout = options.timeout
        self._closed = False
        self._locks: set[LockOnLink] = set()
        self._shared = join(self, options, share)

    @property
    def compounds(self) -> bool:
        """Whether the server takes compound requests."""
        return self._shared.compounds

    @compounds.setter
    def compounds(self, value: bool) -> None:
        self._shared.compounds = value

    @property
    def chains(self) -> Chains:
        """What is known of the server's compounds."""
        return self._shared.chains

    @property
    def closed(self) -> bool:
        """Whether the store was closed."""
        return self._closed

    def ensure_open(self) -> None:
        """Checks that the store was not closed.

        Raises:
            NotSupported: It was.
        """
        if self._closed:
            raise NotSupported("the store is closed", hint="Open it again.")

    def current(self, deadline: Deadline) -> Link:
        """The connection, made now if there is none that works.

        Args:
            deadline: Until when.

        Raises:
            NotSupported: The store was closed meanwhile.
            StoreError: As `connect` does.
        """
        self.ensure_open()
        link = self._shared.current(deadline)
        self.ensure_open()  # connecting may have taken long
        return link

    def end_session(self) -> None:
        """Sees to it that a connection which fell silent leaves no lock: the next one ends its session."""
        with suppress(StoreError):
            self._shared.current(Deadline(min(_LAST_WORD, self._timeout / 4)))

    def hold(self, lock: LockOnLink) -> None:
        """Keeps a connection alive while a lock is held on it, and has the lock released with the store.

        Args:
            lock: It has been granted.

        Raises:
            NotSupported: The store was closed meanwhile; the lock is released.
        """
        self._locks.add(lock)
        if self._closed:
            lock.release()
            self.ensure_open()

    def forget(self, lock: LockOnLink) -> None:
        """Undoes `hold`.

        Args:
            lock: It has been released.
        """
        self._locks.discard(lock)

    def holds_lock_on(self, link: Link) -> bool:
        """Whether a lock would be lost with a connection.

        Args:
            link: The connection.
        """
        return any(lock.link is link for lock in tuple(self._locks))

    def close(self, deadline: Deadline) -> None:
        """Releases the store's locks, and ends the connection if no other store uses it. A second call does nothing.

        Args:
            deadline: Until when to wait for the server.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if leave(self, self._shared):
                self._shared.end(deadline)
            for lock in tuple(self._locks):
                lock.give_up(deadline)
                if lock.link.is_of_this_process:
                    lock.link.unanswered.settle(deadline)
        except BaseException:  # an interruption: a second call does nothing
            for lock in tuple(self._locks):
                lock.link.end()
            leave(self, self._shared)
            self._shared.end_if_unused()
            raise
