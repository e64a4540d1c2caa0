"""A backend with a password that fails on demand, and odd URLs of it: whatever shows one shows `MARK`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar

from exlab_store_memory.backend import Memory, MemoryBackend

from exlab_store import (
    AccessDenied,
    Expectation,
    HeldLock,
    Location,
    LockOwner,
    LockTimeout,
    Snapshot,
    StorageFull,
    Version,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MARK = "S3cr3t"
FAILURES = ["", "open", "account", "read", "write", "lock", "change", "payload"]


class Vault(MemoryBackend):
    """A backend with a password that fails where it is told to."""

    failing: ClassVar[str] = ""

    @classmethod
    def open(cls, location: Location, options: Mapping[str, object]) -> Vault:
        del options
        if cls.failing == "open":
            raise RuntimeError(f"refused: {location}")
        if cls.failing == "account":
            raise AccessDenied("refused")
        return cls(Memory())

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        if self.failing == "read":
            raise RuntimeError("broken")
        return super().read_snapshot(key)

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        if self.failing == "write":
            raise StorageFull("full")
        return super().atomic_write(key, data, expect, lock)

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        if self.failing == "lock":
            raise LockTimeout("held by somebody")
        return super().lock(key, owner, timeout, cancelled)


_USERS = ["lab", "LAB;svc", "svc@lab.example", "", "DOMAIN\\svc", "DOMAIN/svc"]
_ENDS = ["h/lab/a.json", "h:445/lab/a.json", "h:port/a.json", "[fe80::1]/a.json", "h/a.json?x=1", "h/a@b/a.json", "h"]
_CHARACTERS = "abcXYZ0123456789/?#@:%[]\\ &;'\"~µ漢\n\t"


def urls(number: int, seed: int) -> Iterator[str]:
    chance = random.Random(seed)
    for _ in range(number):
        before, after = ("".join(chance.choices(_CHARACTERS, k=chance.randrange(10))) for _ in "ab")
        scheme = chance.choice(["vault"] * 4 + ["nosuchscheme"])
        if chance.random() < 0.5:  # well-formed, so that what comes after the opening is reached
            before, after = (text.encode().hex() for text in (before, after))
            yield f"{scheme}://lab:{before}{MARK}{after}@h{chance.randrange(99)}/lab/a.json"
        else:
            yield f"{scheme}://{chance.choice(_USERS)}:{before}{MARK}{after}@{chance.choice(_ENDS)}"
