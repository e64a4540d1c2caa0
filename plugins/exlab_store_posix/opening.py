"""The opening of a directory as a store."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from exlab_store import Location, LocationError
from exlab_store_posix.backend import PosixBackend
from exlab_store_posix.case_folding import CaseFoldingBackend, folds_case
from exlab_store_posix.encoding import base_of, root_of
from exlab_store_posix.faults import translated
from exlab_store_posix.mounts import mount_of, nearest_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["open_backend"]

if sys.platform == "win32":
    from exlab_store_posix.windows.access import checked_mode
    from exlab_store_posix.windows.paths import no_such_directory, path_of
else:
    from exlab_store_posix.access import checked_mode

    def path_of(location: Location) -> str:
        """The path of a location.

        Args:
            location: Of the scheme ``file``.

        Raises:
            LocationError: It names a server.
        """
        if location.host not in {"", "localhost"}:
            raise LocationError(
                "a file: URL names no server", hint="Write file:///path; for a share use its own scheme."
            )
        return location.path

    def no_such_directory(path: str) -> LocationError:  # noqa: ARG001
        """The error for a directory that is not there."""
        return LocationError("there is no such directory", hint="Create it, or mount the share that should be there.")


def open_backend(location: Location, options: Mapping[str, object]) -> PosixBackend:
    """Opens a directory.

    Args:
        location: Scheme ``file``, no server but ``localhost``. The directory must exist, unless
            ``location.create`` is set.
        options: ``mode``, the permission bits of every document that is written, such as ``0o600``.

    Raises:
        LocationError: There is another option or a server, or the directory is missing or is none.
        NotSupported: On Windows: another mode than 0o600, or a file system that keeps no access control lists.
        AccessDenied: The directory may not be entered.
    """
    unknown = [name for name in options if name != "mode"]
    if unknown:
        raise LocationError(
            f"a local directory has no option {', '.join(map(repr, unknown))}",
            hint="Options such as user and password are for network protocols.",
        )
    documents_mode = checked_mode(options.get("mode"))
    if location.username is not None or location.port is not None:
        raise LocationError("a file: URL names no server", hint="Write file:///path; for a share use its own scheme.")
    root = path_of(location)
    if not os.path.isabs(root):
        raise LocationError("a file: URL needs an absolute path", hint="Write file:///path.")
    try:
        mode = os.stat(root).st_mode
    except FileNotFoundError:
        if not location.create:
            raise no_such_directory(root) from None
    except NotADirectoryError:
        raise LocationError("a part of the path is not a directory", hint="Check how the path is spelt.") from None
    except PermissionError as error:
        raise translated(error, "enter the directory") from error
    except OSError as error:
        raise translated(error, "open the directory") from error
    else:
        if not stat.S_ISDIR(mode):
            raise LocationError("the location is not a directory", hint="Give the directory that holds the documents.")
    existing = nearest_directory(base_of(root_of(root)))
    mount = mount_of(existing)
    made = CaseFoldingBackend if folds_case(existing, mount) else PosixBackend
    return made(root, create=location.create, ignores=location.ignores, mode=documents_mode, mount=mount)
