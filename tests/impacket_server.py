"""Another SMB server than Samba: impacket's, which takes compounds apart and grants every lock to everybody."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
PATIENCE = 30.0  # seconds that its start may take on a machine that is busy with other tests

_PROGRAM = """
import sys
from impacket.ntlm import compute_lmhash, compute_nthash
from impacket.smbserver import SimpleSMBServer
port, path, user, password = sys.argv[1:]
server = SimpleSMBServer(listenAddress="127.0.0.1", listenPort=int(port))
server.addShare("LAB", path)
server.setSMB2Support(True)
server.addCredential(user, 0, compute_lmhash(password), compute_nthash(password))
server.start()
"""


@dataclass(frozen=True)
class ImpacketServer:
    """Such a server.

    Attributes:
        port: On 127.0.0.1.
        root: The directory that its only share exports.
    """

    port: int
    root: Path

    @property
    def url(self) -> str:
        """The URL of its share."""
        return f"smb://{HOST}:{self.port}/LAB"

    @property
    def options(self) -> dict[str, Any]:
        """The account; the server signs nothing."""
        return {"username": "lab", "password": "secret", "require_signing": False, "timeout": 10.0}


@contextmanager
def running_impacket(root: Path) -> Iterator[ImpacketServer]:
    """Starts a server in a process of its own, and ends it.

    Args:
        root: The directory to export.
    """
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", _PROGRAM, str(port), str(root), "lab", "secret"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "impacket's server has ended"
                assert time.monotonic() < deadline, "impacket's server does not listen"
                time.sleep(0.01)
        yield ImpacketServer(port, root)
    finally:
        process.kill()
        process.wait()
