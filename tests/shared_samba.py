"""One Samba server for all tests of a module, whose share is empty for each: a start takes as long as a short test."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import lacking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer


@contextmanager
def running_server() -> Iterator[SambaServer]:
    """Starts a server; not in tmp_path, which is closed to other accounts."""
    if sys.platform != "linux":
        pytest.skip("the test server is managed through /proc")
    from samba_server import SambaServer, find_smbd

    if find_smbd() is None:
        lacking("install Debian's package samba: its smbd is the server of the SMB tests")
    with tempfile.TemporaryDirectory(prefix="exlab-store-samba-") as directory:
        Path(directory).chmod(0o755)
        with SambaServer(Path(directory, "server")) as server:
            yield server


def empty(samba: SambaServer) -> None:
    """Takes away what an earlier test has left on the default share."""
    for path in samba.root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
