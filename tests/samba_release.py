"""Programs of another Debian release than the machine's own, from a folder that debootstrap has filled."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["debian_13", "inside"]

# In a mount namespace of its own, the other release's programs and libraries stand in the place of the machine's.
# All else stays as it is: accounts, processes, and the folders of the tests under their own names. The namespace
# ends with the program, so that a test which is killed leaves no mount behind.
_ENTER = 'mount --bind "$1/usr" /usr && mount --bind "$1/etc/ld.so.cache" /etc/ld.so.cache && shift && exec "$@"'


def inside(release: Path, program: str) -> list[str]:
    """The command that runs a program of a release; needs root.

    Args:
        release: Where debootstrap has put the release.
        program: Its name.

    Raises:
        RuntimeError: The release has no such program.
    """
    for folder in ("/usr/sbin", "/usr/bin"):
        if Path(f"{release}{folder}/{program}").exists():
            enter = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", _ENTER, "sh", str(release)]
            return [*enter, f"{folder}/{program}"]
    raise RuntimeError(f"there is no {program} in {release}")


def debian_13() -> Path:
    """Where Debian 13 is, or should be: EXLAB_STORE_DEBIAN13, or a folder of the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("EXLAB_STORE_DEBIAN13") or Path(cache, "exlab-store", "debian13"))
