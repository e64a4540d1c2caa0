"""The machines of the guest: a file server with NFS and SMB shares, and its clients.

Each machine is a network namespace and a host name of its own; ``guest/init.sh`` has made them. A mount belongs to the
machine that made it, whichever process uses it; a process becomes one of a machine with `Machine.enter`.
"""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

USER: Final = "root"
PASSWORD: Final = "pw"
EXPORT: Final = Path("/mnt/export")
"""Where the server keeps what it exports, on an ext4 file system."""

_NEW_NETWORK: Final = 0x40000000  # CLONE_NEWNET
_NEW_HOST_NAME: Final = 0x04000000  # CLONE_NEWUTS
_SPAWN: Final = multiprocessing.get_context("spawn")
_MOUNTING: Final = 60.0  # seconds; it takes one

_folders = itertools.count(1)


@dataclass(frozen=True)
class Kind:
    """A way to mount the server's export.

    Attributes:
        file_system: ``nfs`` or ``cifs``, as ``mount -t`` calls it.
        options: For ``mount -o``.
        share: The Samba share: ``lab``, or ``mixed``, which gives no workstation a lease on lock files.
    """

    file_system: str
    options: str
    share: str = "lab"

    def source(self, server: str) -> str:
        """What is mounted, of a server with this address."""
        if self.file_system == "cifs":
            return f"//{server}/{self.share}"
        return f"{server}:{EXPORT}" if "vers=3" in self.options else f"{server}:/"

    def all_options(self, server: str) -> str:
        """The options with those that every mount of the file system needs here."""
        if self.file_system == "cifs":
            # nosharesock: a client is a connection of its own. iocharset: else names beyond ASCII change on the way.
            always = f"username={USER},password={PASSWORD},ip={server},nosharesock,iocharset=utf8"
            return f"{always},{self.options}"
        return self.options


KINDS: Final = {
    "nfs-4.2": Kind("nfs", "vers=4.2"),
    "nfs-4.0": Kind("nfs", "vers=4.0"),
    "nfs-3": Kind("nfs", "vers=3"),
    "nfs-3-nolock": Kind("nfs", "vers=3,nolock"),
    "cifs-strict": Kind("cifs", "vers=3.1.1,cache=strict"),
    "cifs-none": Kind("cifs", "vers=3.1.1,cache=none"),
    "cifs-loose": Kind("cifs", "vers=3.1.1,cache=loose"),
    "cifs-nobrl": Kind("cifs", "vers=3.1.1,nobrl"),
    "cifs-actimeo-0": Kind("cifs", "vers=3.1.1,actimeo=0"),
    "cifs-actimeo-30": Kind("cifs", "vers=3.1.1,actimeo=30"),
    "cifs-nolease": Kind("cifs", "vers=3.1.1,nolease"),
    "cifs-mixed": Kind("cifs", "vers=3.1.1", "mixed"),
}
"""The kinds of mount, by name."""


@dataclass(frozen=True)
class Machine:
    """A client of the server.

    Attributes:
        name: ``a``, ``b`` or ``c``.
        server: The server's address, as this client reaches it.
    """

    name: str
    server: str

    def command(self, *words: str | Path) -> list[str]:
        """A command line that runs another one on this machine."""
        return ["nsenter", f"--net=/run/net/{self.name}", f"--uts=/run/uts/{self.name}", *map(str, words)]

    def python(self, *words: str | Path) -> list[str]:
        """A command line that runs this Python on this machine."""
        return self.command(sys.executable, *words)

    def enter(self) -> None:
        """Makes the calling process one of this machine; before it starts a thread."""
        if self == SERVER:  # as every process of the guest
            return
        libc = ctypes.CDLL(None, use_errno=True)
        for path, kind in ((f"/run/net/{self.name}", _NEW_NETWORK), (f"/run/uts/{self.name}", _NEW_HOST_NAME)):
            descriptor = os.open(path, os.O_RDONLY)
            if libc.setns(descriptor, kind):
                raise OSError(ctypes.get_errno(), "setns", path)
            os.close(descriptor)

    def pool(self, processes: int = 1) -> ProcessPoolExecutor:
        """Processes of this machine, which run functions."""
        return ProcessPoolExecutor(processes, mp_context=_SPAWN, initializer=self.enter)

    def mount(self, kind: str, extra: str = "") -> Path:
        """Mounts the export, once; it stays mounted until the guest ends.

        Args:
            kind: One of `KINDS`.
            extra: Further options, as ``soft,timeo=50``; a mount of its own.

        Raises:
            subprocess.CalledProcessError: It could not be mounted; its output has the reason.
        """
        point = Path("/mnt", self.name, kind + extra.replace("/", "_"))
        if not os.path.ismount(point):
            point.mkdir(parents=True, exist_ok=True)
            made = KINDS[kind]
            options = ",".join(filter(None, [made.all_options(self.server), extra]))
            command = self.command("mount", "-t", made.file_system, "-o", options, made.source(self.server), point)
            subprocess.run(command, check=True, timeout=_MOUNTING)
        return point

    def cut(self) -> None:
        """Cuts this machine off: packets are lost both ways, and neither side is told."""
        for command in self._lossy("add"):
            subprocess.run(command, check=True)

    def restore(self) -> None:
        """Joins this machine to the network again; nothing happens if it was not cut off."""
        for command in self._lossy("del"):
            subprocess.run(command, check=False, stderr=subprocess.DEVNULL)

    def _lossy(self, verb: str) -> list[list[str]]:
        both = [["tc", "qdisc", verb, "dev", device, "root"] for device in (f"to-{self.name}", "uplink")]
        if verb == "add":
            both = [[*command, "netem", "loss", "100%"] for command in both]
        return [both[0], self.command(*both[1])]


A: Final = Machine("a", "10.9.1.1")
B: Final = Machine("b", "10.9.2.1")
C: Final = Machine("c", "10.9.3.1")
SERVER: Final = Machine("server", "127.0.0.1")


@dataclass(frozen=True)
class Site:
    """One folder, and the ways to it.

    Attributes:
        kind: How a and b have mounted the share: one of `KINDS`.
        name: The folder's name in the export.
    """

    kind: str
    name: str

    @property
    def server(self) -> Path:
        """The folder, for a process on the server."""
        return EXPORT / self.name

    @property
    def a(self) -> Path:
        """The folder, as client a has it mounted."""
        return A.mount(self.kind) / self.name

    @property
    def b(self) -> Path:
        """The folder, as client b has it mounted."""
        return B.mount(self.kind) / self.name

    @property
    def smb(self) -> str:
        """The folder, for client c, which reaches the Samba share without mounting it."""
        return f"smb://{USER}:{PASSWORD}@{C.server}/lab/{self.name}"


def new_site(kind: str) -> Site:
    """A new, empty folder of the server, with the export mounted on a and b."""
    site = Site(kind, f"{next(_folders)}")
    site.server.mkdir(mode=0o777)
    A.mount(kind)
    B.mount(kind)
    return site
