"""Two clients at one place, or at two places of the same storage, and what they are to work with."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store.clients.process import end_all
from exlab_store.doctor.clients import start_client
from exlab_store.doctor.machines.client import RemoteClient

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from exlab_store.clients.client import Client
    from exlab_store.clients.requests import StoreDescription
    from exlab_store.doctor.machines.client import OtherMachine
    from exlab_store.guarantees import Guarantees

__all__ = ["Visit"]

_PATIENCE = 12.0


class Visit:
    """The clients of one place, or of a pair of places; as a context manager, it leaves none behind.

    Args:
        locations: One location, for two clients that open it on their own, or two, for one client each.
        folder: The key of the doctor's folder.
        name: What the visit's own documents are below that.
        seconds: How long each kind of work goes on that is a matter of time.
        config: The configuration's file for ``@name``, or None.
        other: The machine whose client is the second one; None if all are of this machine.
    """

    def __init__(
        self,
        locations: Sequence[str | os.PathLike[str]],
        folder: str,
        name: str,
        seconds: float,
        config: str | None = None,
        other: OtherMachine | None = None,
    ) -> None:
        self._locations = tuple(locations) if len(locations) > 1 else (locations[0], locations[0])
        self._patience = _PATIENCE + seconds
        self._config = config
        self._clients: list[Client | None] = [None, None]
        self._deadline = math.inf
        self._opened: tuple[StoreDescription, StoreDescription] | None = None
        self._bypasses: dict[int, tuple[bool, str]] = {}
        self.folder = folder
        self.name = name
        self.seconds = seconds
        self.writable = True
        self.other = other
        """The other machine, if the second client is one of its: the two have no clock in common, nor a path."""

    @property
    def location(self) -> str | os.PathLike[str]:
        """The first place, as it was given: hidden, as it may have a secret."""
        return self._locations[0]

    @property
    def first(self) -> Client:
        """The client at the first place."""
        return self._client(0)

    @property
    def second(self) -> Client:
        """The client at the second place, or the other one at the only place."""
        return self._client(1)

    @property
    def opened(self) -> tuple[StoreDescription, StoreDescription]:
        """What the two have opened."""
        if self._opened is None:
            self.start()
            self._opened = self.first.opened, self.second.opened
        return self._opened

    @property
    def of_server(self) -> bool:
        """Whether a server keeps one of the places."""
        return any(opened.of_server for opened in self.opened)

    @property
    def common(self) -> Guarantees:
        """What both claim: of each guarantee the weaker value."""
        one, other = (opened.guarantees for opened in self.opened)
        weaker = {
            shortfall.guarantee: shortfall.offered for shortfall in (*one.shortfalls(other), *other.shortfalls(one))
        }
        return msgspec.structs.replace(one, **weaker)

    def why_not(self, guarantee: str) -> str:
        """That a guarantee is not claimed, with the reason where a backend gives one.

        Args:
            guarantee: The name of the field of `Guarantees`.
        """
        reasons = dict.fromkeys(opened.unclaimed[guarantee] for opened in self.opened if guarantee in opened.unclaimed)
        return ": ".join(["it is not claimed", *reasons])

    def key(self, name: str) -> str:
        """The key of a document of this visit.

        Args:
            name: The document's name, or more segments.
        """
        return f"{self.folder}/{self.name}/{name}"

    def start(self) -> None:
        """Starts the clients, both at the same time, where they do not run already."""
        _ = self.first, self.second

    def both(self, request: str, *arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Has both clients do something at the same time.

        Args:
            request: The request's name.
            arguments: The arguments of the first and of the second.

        Returns:
            Their answers.
        """
        self.start()
        self.first.send(request, **arguments[0])
        self.second.send(request, **arguments[-1])
        # The second one's first: another machine that leaves is noticed at once.
        answer = self.second.answer()
        return self.first.answer(), answer

    def bypass(self, number: int = 0) -> str | None:
        """Has a client find another way to the files.

        Args:
            number: 0 for the first client, 1 for the second.

        Returns:
            None if there is one, or the reason why there is none.
        """
        found, text = self._find_bypass(number)
        return None if found else text

    @property
    def directory(self) -> str | None:
        """The path of the place on this machine, without links, where it has one."""
        found, text = self._find_bypass(0)
        return text if found and text else None

    def _find_bypass(self, number: int) -> tuple[bool, str]:
        if number not in self._bypasses:
            self._bypasses[number] = self._client(number).ask("find_bypass", folder=self.folder)
        return self._bypasses[number]

    def kill(self, number: int) -> None:
        """Kills a client, as a crash of its machine would; the next one that is asked for is a new one.

        Args:
            number: 0 for the first, 1 for the second.
        """
        client, self._clients[number] = self._clients[number], None
        self._bypasses.pop(number, None)
        if client is not None:
            client.kill()

    def allow(self, seconds: float) -> None:
        """Sets how long the probe that begins now may take in all.

        Args:
            seconds: Its limit.
        """
        self._deadline = time.monotonic() + seconds
        for client in self._clients:
            if client is not None:
                client.deadline = self._deadline

    def renew(self) -> None:
        """Replaces both clients: what they were in the middle of is over."""
        for number in range(2):
            self.kill(number)

    def _client(self, number: int) -> Client:
        client = self._clients[number]
        if client is None:
            if number and self.other is not None:
                client = RemoteClient(self.other, self._patience)
            else:
                client = start_client(self._locations[number], self._config, self._patience)
            self._clients[number] = client
            client.deadline = self._deadline
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        end_all([client for client in self._clients if client is not None])
