"""Locations as they are typed in a shell: relative paths mean the working directory."""

from __future__ import annotations

import os
import re

from exlab_store import LocationError

__all__ = ["resolved"]

# As in exlab_store.location: two letters at least. "@name" is a store of a site configuration.
_NOT_A_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|@")


def resolved(location: str) -> str:
    """A location that the core takes: URLs as they are, relative paths made absolute.

    Args:
        location: What was typed.

    Raises:
        LocationError: The path is relative and the working directory is gone.
    """
    # The core refuses the empty location with a sentence of its own; joined, it would be the working directory.
    if not location or _NOT_A_PATH.match(location) or os.path.isabs(location):
        return location
    try:
        # Not abspath: what ".." means depends on symbolic links.
        return os.path.join(os.getcwd(), location)
    except OSError:
        raise LocationError(
            "the path is relative, and the working directory is gone",
            location=location,
            hint="Change to a directory that exists, or give an absolute path.",
        ) from None
