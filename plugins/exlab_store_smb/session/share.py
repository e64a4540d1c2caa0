"""A store's folder on its share: the connection to it, and the repetition of an operation whose connection was lost."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, TypeVar

from exlab_store import BackendUnavailable, temporary_name
from exlab_store_smb.session.document_path import DocumentPath
from exlab_store_smb.session.failed_creates import find_out
from exlab_store_smb.session.interruptions import ends_when_interrupted
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.session.logon import hint_for_sleeping_disks
from exlab_store_smb.session.opening import open_root
from exlab_store_smb.session.reconnecting import Links
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.statuses import NAME_MISSING, PATH_MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.opening import OpenedShare
    from exlab_store_smb.session.options import SmbOptions
    from exlab_store_smb.wire.shapes import Reply

__all__ = ["Share", "discard", "root_is_gone", "unavailable"]

_T = TypeVar("_T")

_MOST_ASKED = 20  # times, each with another operation; then it is left to sweep


class Share:
    """The folder of a store.

    Args:
        options: The server and the account.
        share: The share's name.
        root: The folder below the share, ``/``-separated; empty text for the share itself.
        create: The folder may be missing.
    """

    def __init__(self, options: SmbOptions, share: str, root: str, *, create: bool) -> None:
        self.links = Links(options, share)
        self.root = root
        self.create = create
        self.timeout = options.timeout
        self._connect_timeout = options.connect_timeout
        self._abandoned: dict[str, int] = {}  # names of files, and how often the server did not tell

    def open(self) -> OpenedShare:
        """Connects, and asks for the folder.

        Raises:
            LocationError: There is no such folder.
            BackendUnavailable: The connection was lost, or the server does not answer.
            StoreError: As `open_root` and `connect` do.
        """
        # The first answer about a file may have to wait for the server's disks to wake, as connecting may.
        patience = max(self.timeout, self._connect_timeout)
        began, deadline = time.monotonic(), Deadline(patience)
        link = self.links.current(deadline)
        try:
            try:
                opened = self._ask_for_root(link, deadline if link.made > began else deadline.half())
            except LinkLost:
                if deadline.over:
                    raise
                # That of other stores, which may have ended long ago without a word; or this process stood still for
                # so long that its own connection was ended as idle.
                link = self.links.current(deadline)
                opened = self._ask_for_root(link, deadline)
        except LinkLost as lost:
            error = unavailable(lost, exhausted=deadline.over)
            if deadline.over:
                error.hint = hint_for_sleeping_disks(patience)
            raise error from lost
        self.links.compounds = opened.compounds
        return opened

    def _ask_for_root(self, link: Link, deadline: Deadline) -> OpenedShare:
        opened = open_root(link, link.path(self.root), deadline, create=self.create)
        find_out(link, link.path(self.root, temporary_name("store")), deadline)
        return opened

    def current(self, deadline: Deadline) -> Link:
        """The connection, made now if there is none that works; over a new one, abandoned files are deleted.

        Args:
            deadline: Until when.

        Raises:
            StoreError: As `connect` does.
        """
        link = self.links.current(deadline)
        if self._abandoned:
            self._clear_up(link, deadline)
        return link

    def repeated(self, call: Callable[[Link, Deadline], _T], *, opens: bool = False) -> _T:
        """Repeats an operation that changes nothing, or may happen twice, until it is done or the time is over.

        Args:
            call: The operation.
            opens: It has folders or files open between two exchanges. An interruption ends the connection then: nobody
                else would close them.

        Raises:
            BackendUnavailable: The connection was lost, and the time is over.
            StoreError: As the operation does.
        """
        deadline = Deadline(self.timeout)
        while True:
            with self.last_chance(deadline):
                link = self.current(deadline)
            try:
                with ends_when_interrupted(link) if opens else nullcontext():
                    return call(link, deadline)
            except LinkLost as lost:
                if deadline.over:
                    raise unavailable(lost, exhausted=True) from lost
                time.sleep(min(deadline.remaining(), random.uniform(0.001, 0.05)))  # noqa: S311  # no secret

    @contextmanager
    def last_chance(self, deadline: Deadline) -> Generator[None]:
        """Keeps the store from repeating an operation that has had most of its time already.

        Args:
            deadline: Of the operation.

        Raises:
            BackendUnavailable: From within; it says that nothing is to be repeated.
        """
        try:
            yield
        except BackendUnavailable as error:
            error.exhausted = error.exhausted or deadline.remaining() < self.timeout / 2
            raise

    def abandon(self, *paths: str) -> None:
        """Remembers files that an attempt may have left behind; the next connection deletes them.

        Args:
            paths: Their names on the share; an empty one stands for none.
        """
        self._abandoned.update((path, 0) for path in paths if path)

    def _clear_up(self, link: Link, deadline: Deadline) -> None:
        with suppress(LinkLost):
            for path, asked in tuple(self._abandoned.items()):
                if deadline.over:
                    return
                if discard(link, path, deadline) is not None or asked == _MOST_ASKED:
                    self._abandoned.pop(path, None)
                else:  # somebody has it open, such as a scanner for viruses
                    self._abandoned[path] = asked + 1

    def document_path(self, link: Link, key: str) -> DocumentPath:
        """Where a document or another file of the store is.

        Args:
            link: The connection.
            key: Its name below the store's folder, ``/``-separated.
        """
        folder = key.rpartition("/")[0]
        return DocumentPath(folder, link.path(self.root, folder), link.path(self.root, key))

    def ensure_there(self, link: Link, deadline: Deadline) -> None:
        """Checks that the store's folder is there, unless it may be missing.

        Args:
            link: The connection.
            deadline: Until when.

        Raises:
            BackendUnavailable: It is gone.
            LinkLost: The connection has ended.
        """
        if self.create:
            return
        asked, _ = link.run([messages.open_to_ask(link.path(self.root)), messages.close()], deadline.half())
        if not asked.ok:
            raise root_is_gone()

    def ensure_only_missing(self, link: Link, found: Reply, deadline: Deadline) -> None:
        """Tells a missing document from a store whose folder is gone.

        Args:
            link: The connection.
            found: The server's answer about the document.
            deadline: Until when.

        Raises:
            BackendUnavailable: The store's folder is gone.
            LinkLost: The connection has ended.
        """
        if found.status in PATH_MISSING:
            self.ensure_there(link, deadline)


def discard(link: Link, path: str, deadline: Deadline) -> bool | None:
    """Deletes a temporary file.

    Args:
        link: The connection.
        path: Its name on the share.
        deadline: Until when.

    Returns:
        Whether there was one; None if the server does not tell, as while somebody has it open.

    Raises:
        LinkLost: The connection has ended.
    """
    opened, _ = link.run([messages.open_to_discard(path), messages.close()], deadline.half())
    if opened.ok:
        return True
    return False if opened.status == NAME_MISSING else None


def unavailable(lost: LinkLost, *, exhausted: bool) -> BackendUnavailable:
    """The error for a connection that was lost.

    Args:
        lost: Its end.
        exhausted: The operation's time is over.
    """
    return BackendUnavailable(
        f"the connection to the server was lost: {lost}",
        exhausted=exhausted,
        hint="Look at the network and the server; trying again may succeed.",
    )


def root_is_gone() -> BackendUnavailable:
    """The error for a store whose folder is gone."""
    return BackendUnavailable("the store's folder is gone", hint="Restore it on the share, or find what removed it.")
