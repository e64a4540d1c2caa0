"""All broken backends, and the entry point that opens them: ``flawed://[user:password@]<flaw>/<directory>``.

The sound backend with a call that never returns is ``flawed://hangs-in-<call>/<directory>``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import wraps
from typing import TYPE_CHECKING

import broken_contracts  # noqa: F401
import broken_lists  # noqa: F401
import broken_locks  # noqa: F401
import broken_looks  # noqa: F401
import broken_reads  # noqa: F401
import broken_updates  # noqa: F401
import broken_watches  # noqa: F401
import broken_writes  # noqa: F401
from flaws import BACKENDS, CAUGHT_BY
from reference_files import FileBackend, FlockLock

if TYPE_CHECKING:
    from exlab_store import Location

__all__ = ["BACKENDS", "CAUGHT_BY", "open_backend"]


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
