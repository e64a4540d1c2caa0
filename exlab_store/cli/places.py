"""Locations as they are typed in a shell, and the configuration that gives names to them."""

from __future__ import annotations

import os
import re

from exlab_store import LocationError
from exlab_store.hidden_location import HiddenLocation
from exlab_store.location import redacted
from exlab_store.opening.configuration import VARIABLE

__all__ = ["named_in_option", "resolved", "use_configuration"]

# As in exlab_store.location: a URL's scheme has two letters at least, "@name" is a store of a site configuration, and a
# share, a drive of Windows or a home folder is the core's to refuse: joined, it would be a folder of that name here.
_NOT_A_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|@|~|\\\\|[A-Za-z]:[/\\]")


def resolved(location: str | HiddenLocation) -> HiddenLocation:
    """A location that the core takes: URLs as they are, relative paths made absolute.

    Args:
        location: What was typed.

    Raises:
        LocationError: The path is relative and the working directory is gone.
    """
    # The core refuses the empty location with a sentence of its own; joined, it would be the working directory.
    if not os.fspath(location) or _NOT_A_PATH.match(os.fspath(location)) or os.path.isabs(location):
        return HiddenLocation(location)
    try:
        # Not abspath: what ".." means depends on symbolic links.
        return HiddenLocation(os.path.join(os.getcwd(), location))
    except OSError:
        raise LocationError(
            "the path is relative, and the working directory is gone",
            location=redacted(os.fspath(location)),
            hint="Change to a directory that exists, or give an absolute path.",
        ) from None


def use_configuration(path: str) -> None:
    """Makes a file the configuration of this process, and of those that it starts.

    Args:
        path: As typed after ``--config``.
    """
    global _named_in_option
    os.environ[VARIABLE] = _named_in_option = os.path.abspath(path)


_named_in_option: str | None = None


def named_in_option(path: str) -> bool:
    """Whether a configuration is in force because of ``--config``.

    Args:
        path: The configuration's file.
    """
    return path == _named_in_option
