"""Backends that break their promises, so that tests can see that the command notices.

The folder beside this module is what an installer would leave; on PYTHONPATH, both are a distribution.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from exlab_store_posix import PosixBackend

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    Guarantees,
    Location,
    LocationError,
    LockOwner,
    Snapshot,
    StorageFull,
    Version,
    hookimpl,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


# Seconds in which another process comes in between, also where many processes take turns on one processor.
_LONG_ENOUGH = 0.001


class InPlace(PosixBackend):
    """Says that it replaces documents, and writes into them."""

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Any, lock: Any) -> Version:
        path = Path(self._base + key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            time.sleep(_LONG_ENOUGH)
            file.write(data[len(data) // 2 :])
        return version_of(data)


class NoLock:
    """Excludes nobody."""

    def __init__(self, key: str, owner: LockOwner) -> None:
        self.key = key
        self.owner = owner

    def ensure_held(self) -> None: ...

    def release(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...


class Lockless(PosixBackend):
    """Says that it locks, and does not."""

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Any) -> Any:
        return NoLock(key, owner)

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Any, lock: Any) -> Any:
        time.sleep(_LONG_ENOUGH)
        return super().atomic_write(key, data, expect, lock)


class Failing:
    """Fails as the location's server is named."""

    guarantees = Guarantees(lock_scope="site")

    def __init__(self, how: str) -> None:
        self._how = how

    def _fail(self) -> Any:
        errors = {
            "unavailable": BackendUnavailable("the server does not answer", hint="Try again."),
            "denied": AccessDenied("this user may not do that"),
            "full": StorageFull("there is no room"),
            "crashed": RuntimeError("a fault of the backend\x1b[31m"),
        }
        raise errors[self._how]

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        return self._fail()

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Any, lock: Any) -> Version:
        return self._fail()

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Any) -> Any:
        return NoLock(key, owner)

    def close(self) -> None: ...


def open_in_place(location: Location, options: Mapping[str, object]) -> InPlace:
    return InPlace(location.path)


def open_lockless(location: Location, options: Mapping[str, object]) -> Lockless:
    return Lockless(location.path)


def open_failing(location: Location, options: Mapping[str, object]) -> Failing:
    return Failing(location.host)


def open_picky(location: Location, options: Mapping[str, object]) -> Failing:
    if not location.host:
        raise LocationError("picky: needs a server")
    return Failing(location.host)
