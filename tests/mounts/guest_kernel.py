"""A Linux kernel of our own, as an ordinary program: Debian's User Mode Linux, with this machine's files as its root.

It needs no right, no virtual machine and no network, and starts in two seconds. Its root is read-only; what it writes
to the host goes to the folder of the run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Self

from process_group import members, signal_group

HERE: Final = Path(__file__).resolve().parent

_KERNEL: Final = "linux.uml"
_MEMORY: Final = "1G"  # a bound: the host gives pages as they are used
_POWER_OFF: Final = 30.0  # seconds; it takes a tenth of one

# A command that is killed, with all that it has started, when standard input ends, as it does with the process that
# holds the other end: each process of a guest is one of the host's, and would outlive its kernel.
_UNTIL_STDIN_ENDS: Final = 'exec 3<&0; (read -r _ <&3; kill -KILL 0) & exec "$@" 3<&- </dev/null'

_PACKAGES: Final = {
    _KERNEL: "user-mode-linux",
    "rpc.nfsd": "nfs-kernel-server",
    "rpc.mountd": "nfs-kernel-server",
    "rpcbind": "rpcbind",
    "mount.nfs": "nfs-common",
    "mount.cifs": "cifs-utils",
    "smbd": "samba",
    "pdbedit": "samba-common-bin",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "modprobe": "kmod",
    "ip": "iproute2",
    "tc": "iproute2",
    "nsenter": "util-linux",
    "gcc": "gcc",
}
_PLACES: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def what_is_lacking() -> str | None:
    """What this machine has to have before the guest can run, as a sentence; None where it has everything."""
    packages = sorted({package for program, package in _PACKAGES.items() if not shutil.which(program, path=_PLACES)})
    if packages:
        return f"install Debian's packages {' '.join(packages)} to run tests on kernel mounts of NFS and SMB shares"
    if not Path("/usr/lib/uml/modules").is_dir():
        return "install Debian's package user-mode-linux with its modules: /usr/lib/uml/modules is not there"
    return None


class Guest:
    """One start of the kernel, in a folder of its own.

    Args:
        job: The shell script that the guest runs when its servers are up, as root; its folder of exchange is
            ``/run/exchange``.
        files: What its folder holds besides, by name.

    Attributes:
        folder: Where it finds its job, and leaves what it has to say; removed with the guest.
    """

    def __init__(self, job: str, **files: str) -> None:
        # Not in tmp_path: the kernel puts a socket into the folder, and the path of one has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="exlab-store-guest-"))
        try:
            for name, text in {"job": job, **files}.items():
                (self.folder / name).write_text(text)
            self._process = self._boot()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _boot(self) -> subprocess.Popen[bytes]:
        library = self.folder / "registers.so"
        command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "guest/registers.c")]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        kernel = shutil.which(_KERNEL, path=_PLACES)
        assert kernel is not None
        with (self.folder / "kernel").open("wb") as said:
            return subprocess.Popen(
                [
                    *("sh", "-c", _UNTIL_STDIN_ENDS, "sh", "env", f"LD_PRELOAD={library}"),
                    *(kernel, f"mem={_MEMORY}", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"),
                    *("con=null", "con0=fd:0,fd:1", f"uml_dir={self.folder}/uml"),
                    *(f"init={HERE}/guest/init.sh", f"exchange={self.folder}"),
                ],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                env={"PATH": _PLACES, "TMPDIR": str(self.folder)},
                start_new_session=True,
            )

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def console(self) -> str:
        """What it has said: the kernel, then its programs."""
        return self._text("kernel") + self.said

    @property
    def said(self) -> str:
        """What its programs have said."""
        return self._text("console")

    def _text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, timeout: float) -> int | None:
        """Waits for the guest to power off.

        Args:
            timeout: In seconds.

        Returns:
            The exit status of the job; None if the guest did not end in time, or not in order.
        """
        over = time.monotonic() + timeout
        while self.runs and time.monotonic() < over:
            time.sleep(0.02)
        status = self.folder / "status"
        return int(status.read_text()) if not self.runs and status.exists() else None

    def close(self) -> None:
        """Ends the guest, in order if its job is done, and removes its folder."""
        if (self.folder / "status").exists():
            self.wait(_POWER_OFF)
        over = time.monotonic() + _POWER_OFF
        while members(self._process.pid) and time.monotonic() < over:
            signal_group(self._process.pid, signal.SIGKILL)
            time.sleep(0.01)
        self._process.wait(_POWER_OFF)
        assert self._process.stdin is not None
        self._process.stdin.close()
        shutil.rmtree(self.folder)
