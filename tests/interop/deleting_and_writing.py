"""Clients that delete, write, update and read a few documents, over SMB and in the exported directory.

Other programs keep the documents open meanwhile. After each part everybody is idle, the server is killed, and what it
has then is read: it belongs to the history like any other reading.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from foreign_handles import ASKING, VIEWING, Program, program

from exlab_store import DocumentNotFound, Store, WriteOutcomeUnknown, open_store
from exlab_store.testing.history import Operation, Recorder, Violation, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from samba_server import SambaServer

__all__ = ["Site"]

OVER_SMB, ON_THE_SERVER = 4, 2
KEYS = ("a.json", "b.json", "c.json")
LOCKED = "c.json"  # what is changed under its lock only
_LONGEST = 0.02  # seconds that another program has a document open


class Site:
    """The clients of one server, and what they did.

    Args:
        samba: The server.
    """

    def __init__(self, samba: SambaServer) -> None:
        self._samba = samba
        self._recorders = {key: Recorder() for key in KEYS}
        self._updates: dict[str, list[Operation]] = {key: [] for key in KEYS}
        self._wrong: list[BaseException] = []
        self.done: Counter[str] = Counter()

    def work(self, rounds: int, parts: int) -> None:
        """Does so many rounds; a round is a deletion, a write, an update and a reading, in any order.

        Args:
            rounds: Of all clients together.
            parts: The server is killed after each.
        """
        for part in range(parts):
            with ExitStack() as stack:
                stores = [
                    stack.enter_context(self._over_smb() if number < OVER_SMB else open_store(self._samba.root))
                    for number in range(OVER_SMB + ON_THE_SERVER)
                ]
                others = [stack.enter_context(program(self._samba)) for _ in range(3)]
                self._together(stores, others[:2], f"{part}", rounds // parts // len(stores))
                # It asks about what is deleted last, and does not let go before the server is killed.
                others[2].try_to_open(KEYS[1], ASKING)
                self._finally(stores[0], f"{part}")
                self._samba.kill()
                self._samba.start()
            with self._over_smb() as store:
                self._read_all(store, f"{part} after the server was killed")
        if self._wrong:
            raise self._wrong[0]

    def violations(self) -> list[Violation]:
        """What no order of the operations explains."""
        found = [check(self.operations_on(key)) for key in KEYS]
        return [violation for violation in found if violation is not None]

    def operations_on(self, key: str) -> list[Operation]:
        """What was done to a document.

        Args:
            key: One of `KEYS`.
        """
        return [*self._recorders[key].operations, *self._updates[key]]

    def _over_smb(self) -> Store:
        return open_store(self._samba.url(user=False), timeout=30.0, **self._samba.options)

    def _together(self, stores: list[Store], others: list[Program], part: str, rounds: int) -> None:
        over = threading.Event()
        clients = [
            threading.Thread(target=self._guarded(self._client), args=(store, f"{part} client {number}", rounds))
            for number, store in enumerate(stores)
        ]
        holders = [
            threading.Thread(target=self._guarded(self._hold), args=(other, f"{part} holder {number}", over))
            for number, other in enumerate(others)
        ]
        for thread in [*clients, *holders]:
            thread.start()
        for thread in clients:
            thread.join()
        over.set()
        for thread in holders:
            thread.join()

    def _guarded(self, work: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: object) -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self._wrong.append(error)
                raise

        return guarded

    def _client(self, store: Store, name: str, rounds: int) -> None:
        chance = random.Random(name)
        for number in range(rounds):
            steps = [self._delete, self._write, self._update, self._read]
            chance.shuffle(steps)
            for step, work in enumerate(steps):
                work(store, name, chance.choice(KEYS), f"{name} {number} {step}")

    def _hold(self, other: Program, name: str, over: threading.Event) -> None:
        chance = random.Random(name)
        while not over.is_set():
            handle = other.try_to_open(chance.choice(KEYS), chance.choice([ASKING, VIEWING]))
            if handle is not None:
                over.wait(chance.random() * _LONGEST)
                handle.close()
                self.done["held open"] += 1
            time.sleep(chance.random() * _LONGEST)

    def _finally(self, store: Store, part: str) -> None:
        """One document is written, one deleted while it is asked about, one left; then all are read."""
        self._write(store, f"{part} last", KEYS[0], f"{part} last")
        self._delete(store, f"{part} last", KEYS[1], "")
        self._read_all(store, f"{part} last")

    def _read_all(self, store: Store, name: str) -> None:
        for key in KEYS:
            self._read(store, name, key, "")

    def _read(self, store: Store, name: str, key: str, _: str) -> None:
        with self._recorders[key].operation(name, "read") as entry:
            try:
                entry.found = store.read_snapshot(key).data.decode()
            except DocumentNotFound:
                entry.found = None
        self.done["read"] += 1

    def _write(self, store: Store, name: str, key: str, new: str) -> None:
        with self._recorders[key].operation(name, "write", new=new) as entry:
            try:
                if key == LOCKED:
                    with store.lock(key) as held:
                        store.atomic_write(key, new.encode(), lock=held)
                else:
                    store.atomic_write(key, new.encode())
            except WriteOutcomeUnknown:
                entry.known = False
        self.done["write"] += 1

    def _delete(self, store: Store, name: str, key: str, _: str) -> None:
        with self._recorders[key].operation(name, "delete") as entry:
            try:
                if key == LOCKED:
                    with store.lock(key) as held:
                        store.delete(key, lock=held)
                else:
                    store.delete(key)
            except DocumentNotFound:
                entry.succeeded = False
            except WriteOutcomeUnknown:
                entry.known = False
        self.done["delete"] += 1

    def _update(self, store: Store, name: str, key: str, new: str) -> None:
        found: str | None = None
        read = called = time.monotonic_ns()

        def change(current: bytes | None) -> bytes:
            nonlocal found, read
            found, read = None if current is None else current.decode(), time.monotonic_ns()
            return new.encode()

        returned: int | None = None
        try:
            store.update(key, change, timeout=60)
            returned = time.monotonic_ns()
        except WriteOutcomeUnknown:
            pass
        if key == LOCKED:
            done = [Operation(name, "cas", called, returned, expected=found, new=new)]
        else:  # others, who take no lock, may write between the reading and the writing
            done = [
                Operation(name, "read", called, read, found=found),
                Operation(name, "write", read, returned, new=new),
            ]
        self._updates[key] += done
        self.done["update"] += 1
