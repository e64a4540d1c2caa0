"""Connections that the stores of this process share: one for each server, account, set of options and share.

A program that keeps its documents in 250 folders of a share opens 250 stores. With a connection for each, it would
have 250 receiving threads, and be out of descriptors soon. One connection carries them all, as it carries the threads
of one store. A connection for each *share* and not for each server: a connection that is lost then takes only the
locks of one share with it.

One background thread for the whole process ends the connections that nobody uses, and gives back what stores had that
were dropped without `close`. It does not keep the process alive, and ends with the last store.

The password tells connections apart, so that nobody is let in by the connection of an account whose password he does
not know. The registry has a keyed hash of it; in plain it stands in the options of a store that is open, which
connects again with it, and nowhere else.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import secrets
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from msgspec.structs import replace

from exlab_store import BackendUnavailable, NotSupported, StoreError, came_from_signal_handler
from exlab_store.backend import in_forked_child, start_thread, under_mutex
from exlab_store_smb.session.chains import Chains
from exlab_store_smb.session.logon import connect
from exlab_store_smb.wire.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Hashable

    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.options import SmbOptions

__all__ = ["LinkUser", "SharedLink", "give_back", "join", "leave"]

_log = logging.getLogger("exlab_store_smb")

_GOODBYE: Final = 2.0  # seconds for the end of a connection that has no store any more
_LONGEST: Final = 3600.0  # seconds: a wait for days overflows in some versions of Python
_HASH_KEY: Final = secrets.token_bytes(32)
# Where Kerberos looks for the account of a store that has no password.
_TICKETS: Final = ("KRB5CCNAME", "KRB5_CLIENT_KTNAME", "KRB5_CONFIG")


class LinkUser(Protocol):
    """The part of a store that its shared connection uses."""

    def holds_lock_on(self, link: Link) -> bool:
        """Whether a lock would be lost with a connection."""
        ...

    def close(self, deadline: Deadline) -> None:
        """Gives its locks and its share of the connection back."""
        ...


_lock = threading.Lock()  # of all that changes here; nobody waits for a network under it
_shared: dict[Hashable, SharedLink] = {}
_dropped: queue.SimpleQueue[LinkUser | None] = queue.SimpleQueue()  # its put() may interrupt itself, as finalizers do
_housekeeper: threading.Thread | None = None


class SharedLink:
    """A connection to one share: made on first use, made again after a drop, ended when it is idle.

    A new connection names the session of the one before it. The server then ends that session first: its locks are
    free, and nothing that it had been asked for can happen any more. That holds for all stores which share it.

    Args:
        key: Its own in the registry.
        options: The server and the account.
        share: The share's name.
    """

    def __init__(self, key: Hashable, options: SmbOptions, share: str) -> None:
        self.key = key
        self.compounds = True
        """Whether the server takes compound requests; every connection is told."""
        self.chains = Chains()
        """What is known of the server's compounds; every connection is told."""
        self.stores: set[LinkUser] = set()
        self._options = options
        self._share = share
        self.reset()

    def reset(self) -> None:
        """Begins anew in a forked child, which uses nothing of its parent's."""
        self._client = uuid.uuid4()
        self._previous_session = 0
        self._link: Link | None = None
        self._making = threading.Lock()

    def current(self, deadline: Deadline) -> Link:
        """The connection, made now if there is none that works.

        Args:
            deadline: Until when.

        Raises:
            NotSupported: Its last store was closed meanwhile.
            StoreError: As `connect` does.
        """
        link = self._in_use()
        if link is not None:
            return link
        (making,) = map(self._making.acquire, (True,), (deadline.remaining(),))  # in one step: a signal may interrupt
        if not making:
            raise BackendUnavailable("connecting takes too long", hint="Look at the network and the server.")
        try:
            if not self.stores:
                raise _closed()
            return self._in_use() or self._connected(deadline)
        finally:
            self._making.release()

    def _in_use(self) -> Link | None:
        return under_mutex(_lock, self._used_now)

    def _used_now(self) -> Link | None:
        link = self._link
        if link is None or not link.alive:
            return None
        link.last_used = time.monotonic()  # so that it is not ended as idle before the caller has sent anything
        return link

    def _connected(self, deadline: Deadline) -> Link:
        _keep_house()
        link = connect(self._options, self._share, self._client, self._previous_session, deadline)
        try:
            self._previous_session = link.session_id
            link.compounds = self.compounds
            link.chains = self.chains
            if under_mutex(_lock, lambda: self._keep(link)):
                return link
            link.close(deadline.within(_GOODBYE))
        except BaseException:
            link.end()  # an interruption: nobody else would
            raise
        raise _closed()

    def _keep(self, link: Link) -> bool:
        if self.stores:
            self._link = link
        return bool(self.stores)

    def end(self, deadline: Deadline) -> None:
        """Ends the connection in peace, if there is one.

        Args:
            deadline: Until when to wait for the server.
        """
        (making,) = map(self._making.acquire, (True,), (deadline.remaining(),))
        if not making:
            return  # the thread that connects now finds no store left, and ends the new connection
        link: Link | None = None
        try:
            try:
                link, self._link = self._link, None
            finally:
                self._making.release()
            if link is not None:
                self._part_from(link, deadline)
        except BaseException:
            if link is not None:
                link.end()  # an interruption: nobody else would
            raise

    def _part_from(self, link: Link, deadline: Deadline) -> None:
        try:
            if link.is_of_this_process and not link.unanswered.settle(deadline.half()):
                # The server may not have heard that a lock was released: a new session ends this one.
                link.end()
                with suppress(StoreError):
                    link = connect(self._options, self._share, self._client, link.session_id, deadline)
            link.close(deadline)
        except BaseException:
            link.end()  # an interruption: nobody else would
            raise

    def end_if_unused(self) -> None:
        """Ends the connection at once, without a word to the server, if no store is left that uses it."""
        link = self._link
        if link is not None and not self.stores:
            link.end()

    def end_if_idle(self) -> float:
        """Ends the connection when it has not been used for the time of the options.

        It stays while a lock is held on it, which would be lost, and while a request is under way.

        Returns:
            Seconds after which to look again.
        """
        allowed = self._options.idle_timeout
        link = self._link
        if link is not None:
            link.unanswered.check()  # a release that was answered is not under way any more
        idle, left = under_mutex(_lock, lambda: self._idle_after(allowed))
        if idle is not None:
            self._part_from(idle, Deadline(_GOODBYE))
        return left

    def _idle_after(self, allowed: float) -> tuple[Link | None, float]:
        link = self._link
        if link is None:
            return None, allowed
        left = link.last_used + allowed - time.monotonic()
        if left > 0:
            return None, left
        if link.alive and (link.is_waiting or any(store.holds_lock_on(link) for store in self.stores)):
            return None, allowed
        self._link = None
        return link, allowed


def join(store: LinkUser, options: SmbOptions, share: str) -> SharedLink:
    """The connection that a store shares with those of the same server, account, options and share.

    Args:
        store: It has to `leave` one day.
        options: The server and the account.
        share: The share's name.
    """
    key = _key(options, share)

    def found_or_made() -> SharedLink:
        found = _shared.get(key)
        if found is None:
            found = _shared[key] = SharedLink(key, options, share)
            _dropped.put(None)  # its connection may be allowed less time than those that the thread knows of
        found.stores.add(store)
        return found

    return under_mutex(_lock, found_or_made)


def leave(store: LinkUser, shared: SharedLink) -> bool:
    """Takes a store away from those that share a connection.

    Args:
        store: Which one.
        shared: What `join` has returned.

    Returns:
        Whether it was the last: the connection has to be ended.
    """

    def was_last() -> bool:
        shared.stores.discard(store)
        if not shared.stores and _shared.get(shared.key) is shared:
            del _shared[shared.key]
        return not shared.stores

    last = under_mutex(_lock, was_last)
    if last:
        _dropped.put(None)
    return last


def give_back(store: LinkUser) -> None:
    """Has what a dropped store had given back, by another thread: the garbage collector interrupts any.

    Args:
        store: What is left of it.
    """
    _dropped.put(store)


def _closed() -> NotSupported:
    return NotSupported("the store is closed", hint="Open it again.")


def _key(options: SmbOptions, share: str) -> Hashable:
    password = options.password
    if password is None:
        account: Hashable = (getattr(os, "geteuid", int)(), *map(os.environ.get, _TICKETS))
    else:
        account = hashlib.blake2b(password.reveal().encode("utf-8", "surrogatepass"), key=_HASH_KEY).digest()
    return replace(options, host=options.host.lower(), password=None), account, share.casefold()


# Housekeeping


def _keep_house() -> None:
    under_mutex(_lock, _start_housekeeping)


def _start_housekeeping() -> None:
    global _housekeeper
    if _housekeeper is not None:
        return
    thread = threading.Thread(target=_housekeeping, name="exlab-store-smb-housekeeping", daemon=True)
    _housekeeper = thread
    try:
        start_thread(thread)
    except BaseException as error:
        _housekeeper = None  # one that was started all the same, before an interruption, ends itself
        if not isinstance(error, RuntimeError) or came_from_signal_handler(error):
            raise
        raise BackendUnavailable(
            f"no thread can be started: {error}", hint="End some threads of this program."
        ) from error


def _in_care() -> list[SharedLink] | None:
    """The connections that this thread looks after; none: it is to end; None: another thread has its place."""
    global _housekeeper
    if _housekeeper is not threading.current_thread():
        return None
    if not _shared:
        _housekeeper = None
    return list(_shared.values())


def _housekeeping() -> None:
    patience = 0.0
    while True:
        try:
            store = _dropped.get(timeout=min(patience, _LONGEST))
        except queue.Empty:
            store = None
        shared = under_mutex(_lock, _in_care)
        if shared is None:
            _dropped.put(store)
        if not shared:
            return
        try:
            if store is not None:
                store.close(Deadline(_GOODBYE))
            patience = min(each.end_if_idle() for each in shared)
        except Exception:  # whatever it was, the other connections still need their housekeeper
            _log.warning("a connection that nobody uses could not be ended in order", exc_info=True)
            patience = _GOODBYE


def _forget_in_child() -> None:
    global _lock, _dropped, _housekeeper
    _lock, _dropped, _housekeeper = threading.Lock(), queue.SimpleQueue(), None
    for shared in _shared.values():
        shared.reset()


in_forked_child(_forget_in_child)
