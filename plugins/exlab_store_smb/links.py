"""The one connection of a store: made on first use, shared by its threads, made again after a drop."""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store import BackendUnavailable, NotSupported, StoreError
from exlab_store_smb.chains import Chains
from exlab_store_smb.logon import connect

if TYPE_CHECKING:
    from exlab_store_smb.deadline import Deadline
    from exlab_store_smb.link import Link
    from exlab_store_smb.options import SmbOptions

__all__ = ["Links"]

_GOODBYE = 2.0  # seconds for the end of a connection that nobody wants any more


class Links:
    """Keeps the connection to one share.

    A new connection names the session of the one before it. The server then ends that session first: its locks are
    free, and nothing that it had been asked for can happen any more.

    Args:
        options: The server and the account.
        share: The share's name.
    """

    def __init__(self, options: SmbOptions, share: str) -> None:
        self._options = options
        self._share = share
        self.chains = Chains()
        """What is known of the server's compounds; every connection is told."""
        self.compounds = True
        """Whether the server takes compound requests; every connection is told."""
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._client = uuid.uuid4()
        self._previous_session = 0
        self._link: Link | None = None
        self._making = threading.Lock()
        self._closed = False

    def current(self, deadline: Deadline) -> Link:
        """The connection, made now if there is none that works.

        Args:
            deadline: Until when.

        Raises:
            NotSupported: The store was closed meanwhile.
            StoreError: As `connect` does.
        """
        if self._pid != os.getpid():
            inherited = self._link
            self._reset()
            if inherited is not None:
                inherited.end()
        link = self._link
        if link is not None and link.alive:
            return link
        if not self._making.acquire(timeout=deadline.remaining()):
            raise BackendUnavailable("connecting takes too long", hint="Look at the network and the server.")
        try:
            if self._closed:
                raise NotSupported("the store is closed", hint="Open it again.")
            link = self._link
            if link is None or not link.alive:
                link = connect(self._options, self._share, self._client, self._previous_session, deadline)
                if self._closed:
                    link.close(deadline.within(_GOODBYE))
                    raise NotSupported("the store is closed", hint="Open it again.")
                self._previous_session = link.session_id
                link.compounds = self.compounds
                link.chains = self.chains
                self._link = link
            return link
        finally:
            self._making.release()

    def close(self, deadline: Deadline) -> None:
        """Ends the connection in peace, if there is one.

        Args:
            deadline: Until when to wait for the server.
        """
        self._closed = True
        if not self._making.acquire(timeout=deadline.remaining()):
            return  # whoever is connecting now finds it closed, and ends the new connection
        try:
            link, self._link = self._link, None
        finally:
            self._making.release()
        if link is None:
            return
        if link.is_of_this_process:
            if not link.unanswered.settle(deadline.half()):
                # The server may not have heard that a lock was released: a new session ends this one.
                link.end()
                with suppress(StoreError):
                    link = connect(self._options, self._share, self._client, self._previous_session, deadline)
            link.close(deadline)
        else:
            link.end()
