"""The backends that are each wrong in one way: by name, with the test of the kit that must notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from reference_files import FileBackend

BACKENDS: dict[str, type[FileBackend]] = {"sound": FileBackend}
CAUGHT_BY: dict[str, str] = {}

B = TypeVar("B", bound=type[FileBackend])


def flaw(name: str, *, caught_by: str) -> Callable[[B], B]:
    def registered(cls: B) -> B:
        BACKENDS[name] = cls
        CAUGHT_BY[name] = caught_by
        return cls

    return registered
