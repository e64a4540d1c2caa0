"""All broken backends, and the entry point that opens them: ``flawed://[user:password@]<flaw>/<directory>``.

The sound backend with a call that never returns is ``flawed://hangs-in-<call>/<directory>``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import wraps
from typing import TYPE_CHECKING

import broken_backends
import further_broken_backends
import looking_backends
import watching_backends
from reference_files import FileBackend, FlockLock

if TYPE_CHECKING:
    from exlab_store import Location

_MODULES = (broken_backends, further_broken_backends, looking_backends, watching_backends)
BACKENDS: dict[str, type[FileBackend]] = {}
CAUGHT_BY: dict[str, str] = {}
for _module in _MODULES:
    BACKENDS |= _module.BACKENDS
    CAUGHT_BY |= _module.CAUGHT_BY


def open_backend(location: Location, options: Mapping[str, object]) -> FileBackend:
    if location.host.startswith("hangs-in-"):
        return _hanging(location.host.removeprefix("hangs-in-").replace("-", "_"), location.path)
    return BACKENDS[location.host](location.path, location.password)


def _hanging(call: str, root: str) -> FileBackend:
    """The sound backend, but one call of it, or of its locks, never returns; in a process that has no other."""
    owner: type = FileBackend if hasattr(FileBackend, call) else FlockLock

    @wraps(getattr(owner, call))
    def hangs(*_: object, **__: object) -> None:
        threading.Event().wait()

    setattr(owner, call, hangs)
    return FileBackend(root)
