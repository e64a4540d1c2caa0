"""All broken backends, and the entry point that opens them: ``flawed://[user:password@]<flaw>/<directory>``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import broken_backends
import further_broken_backends

if TYPE_CHECKING:
    from reference_files import FileBackend

    from exlab_store import Location

BACKENDS = broken_backends.BACKENDS | further_broken_backends.BACKENDS
CAUGHT_BY = broken_backends.CAUGHT_BY | further_broken_backends.CAUGHT_BY


def open_backend(location: Location, options: Mapping[str, object]) -> FileBackend:
    return BACKENDS[location.host](location.path, location.password)
