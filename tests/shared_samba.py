"""Samba servers for tests: one for all tests of a module, as a start takes as long as a short test, or one for each.

Samba 4.22 (Debian 13) treats a file that somebody has open as Windows does; 4.17 (Debian 12) does not. What depends
on that runs on both.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from conftest import lacking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer

OWN: Final = "own"
DEBIAN_13: Final = "debian13"
BOTH: Final = (OWN, DEBIAN_13)
"""Parameters of a fixture that runs its tests on the machine's own smbd, and on that of Debian 13."""


def release_folder(release: str) -> Path | None:
    """Where a release is, or None for the machine's own; skips the test where its smbd cannot be run.

    Args:
        release: `OWN` or `DEBIAN_13`.
    """
    if sys.platform != "linux":
        pytest.skip("the test server is managed through /proc")
    from samba_release import debian_13
    from samba_server import find_smbd

    if release == OWN:
        if find_smbd() is None:
            lacking("install Debian's package samba: its smbd is the server of the SMB tests")
        return None
    folder = debian_13()
    if not (folder / "usr/sbin/smbd").exists():
        lacking(
            f"make {folder}, or name another folder in EXLAB_STORE_DEBIAN13: debootstrap --variant=minbase"
            " --include=samba,samba-common-bin trixie FOLDER"
        )
    if os.geteuid() != 0:
        lacking("run the tests as root (sudo) to run the smbd of another Debian release")
    return folder


@contextmanager
def running_server(release: str = OWN, **settings: dict[str, str]) -> Iterator[SambaServer]:
    """Starts a server; not in tmp_path, which is closed to other accounts.

    Args:
        release: Whose smbd: `OWN` or `DEBIAN_13`.
        settings: Its ``global_settings`` and ``share_settings``.
    """
    folder = release_folder(release)
    from samba_server import SambaServer

    with tempfile.TemporaryDirectory(prefix="exlab-store-samba-") as directory:
        Path(directory).chmod(0o755)
        with SambaServer(Path(directory, "server"), release=folder, **settings) as server:
            yield server


def empty(samba: SambaServer) -> None:
    """Takes away what an earlier test has left on the default share."""
    for path in samba.root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
