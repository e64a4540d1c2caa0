"""Loop devices and mounts, each a context manager that undoes what it has done whatever happens."""

from __future__ import annotations

import ctypes
import fcntl
import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exlab_store.opening.interpreter import own_interpreter
from exlab_store.testing.crash.requirements import CannotTest, require_program, require_root

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["attached", "forget_cached_blocks", "logged", "mounted", "run"]

# <linux/fs.h> and <sys/mount.h>
_BLKFLSBUF = 0x1261
_MS_RDONLY = 1
_MNT_DETACH = 2

# Not -m: runpy warns of a module that its package has imported already.
_LOGGED_DISK = "from exlab_store.testing.crash.logged_disk import main; main()"

_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: str | Path) -> str:
    """Runs a program that has to succeed.

    Args:
        command: The program and its arguments.

    Returns:
        Its standard output.

    Raises:
        CannotTest: It failed, or is missing.
    """
    try:
        result = subprocess.run(  # noqa: S603  # programs of this package's choice
            [os.fspath(word) for word in command], capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise CannotTest(f"install what has the program {command[0]}") from error
    if result.returncode:
        said = (result.stderr or result.stdout).strip()
        raise CannotTest(f"{' '.join(map(str, command))} fails: {said}")
    return result.stdout.strip()


@contextmanager
def attached(file: Path) -> Generator[Path]:
    """A loop device on a file.

    Args:
        file: The image.

    Yields:
        The device.

    Raises:
        CannotTest: There is no right, no program or no free loop device.
    """
    require_root()
    losetup = require_program("losetup", "util-linux")
    try:
        # Buffered: a flush of the device is then an fsync of the file.
        yield Path(run(losetup, "--find", "--show", "--direct-io=off", file))
    finally:
        # Asked for anew, as Ctrl-C may have come before losetup's answer did.
        for line in run(losetup, "--associated", file).splitlines():
            run(losetup, "--detach", line.partition(":")[0])


def forget_cached_blocks(device: Path) -> None:
    """Makes the kernel forget what it has read of a device whose file was changed behind its back.

    Args:
        device: The loop device; nothing is mounted from it.
    """
    descriptor = os.open(device, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _BLKFLSBUF)
    finally:
        os.close(descriptor)


@contextmanager
def mounted(device: Path, point: Path, kind: str, options: str = "", *, read_only: bool = False) -> Generator[Path]:
    """A mounted file system.

    Args:
        device: The device.
        point: The directory to mount on.
        kind: ``ext4``, as in /proc/filesystems.
        options: The file system's own options, separated by commas.
        read_only: Without writing, other than what recovery needs.

    Yields:
        The directory.

    Raises:
        OSError: The kernel refuses to mount it.
    """
    flags = _MS_RDONLY if read_only else 0
    try:
        if _libc.mount(bytes(device), bytes(point), kind.encode(), ctypes.c_ulong(flags), options.encode()):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot mount {kind}: {os.strerror(number)}")
        yield point
    finally:
        # Looked at, not remembered: Ctrl-C may have come as soon as it was mounted.
        if os.path.ismount(point):
            _unmount(point)


def _unmount(point: Path) -> None:
    if not _libc.umount2(bytes(point), 0):
        return
    number = ctypes.get_errno()
    # Somebody has a file open there. Detaching keeps the machine clean; the failure is told all the same.
    _libc.umount2(bytes(point), _MNT_DETACH)
    raise OSError(number, f"cannot unmount: {os.strerror(number)}", str(point))


@contextmanager
def logged(image: Path, log: Path) -> Generator[Path]:
    """A file with an image's contents that logs every write and flush.

    Args:
        image: What the disk holds at first; it is not changed.
        log: Where the log goes.

    Yields:
        The file.

    Raises:
        CannotTest: FUSE or mfusepy is missing.
    """
    require_root()
    fusermount = require_program("fusermount3", "fuse3")
    if not os.path.exists("/dev/fuse"):
        raise CannotTest("load the kernel module fuse: /dev/fuse is missing")
    with tempfile.TemporaryDirectory(prefix="exlab-store-disk-") as directory:
        server = subprocess.Popen(  # noqa: S603  # our own module
            [own_interpreter(), "-c", _LOGGED_DISK, directory, str(image), str(log)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for us: what is mounted from the disk has to be unmounted first
        )
        try:
            disk = Path(directory, "disk")
            deadline = time.monotonic() + 20
            while not disk.exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    said = server.communicate()[0] if server.poll() is not None else "it does not answer"
                    raise CannotTest(f"install mfusepy and libfuse3: the logged disk does not start: {said.strip()}")
                time.sleep(0.01)
            yield disk
        finally:
            _release(fusermount, directory)
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            _release(fusermount, directory)  # it may have come to mounting only after the first
            if server.stdout is not None:
                server.stdout.close()


def _release(fusermount: str, directory: str) -> None:
    subprocess.run(  # noqa: S603  # a path that was looked up
        [fusermount, "-u", "-z", directory], capture_output=True, check=False
    )
