"""What a file system can promise is what the backend's guarantees say."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from exlab_store_posix.backend import _guarantees
from exlab_store_posix.mounts import FileSystem, _type_of, file_system_of

from exlab_store import Guarantees, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 22 0:28 / /mnt rw - tmpfs tmpfs rw
35 31 0:44 / /mnt/nas rw,relatime shared:2 - cifs //nas/lab rw,vers=3.1.1
36 22 0:45 / /mnt/with\\040space rw - nfs4 nas:/lab rw
37 22 0:46 / /srv rw - xfs /dev/vdb rw
38 22 0:47 / /srv rw - fuse.sshfs nas:/ rw
"""


@pytest.mark.parametrize(
    ("path", "name"),
    [("/data", "ext4"), ("/mnt/x", "tmpfs"), ("/mnt/nas", "cifs"), ("/mnt/nas/x", "cifs"), ("/mnt/nasty", "tmpfs")]
    + [("/mnt/with space/x", "nfs4"), ("/srv/x", "fuse.sshfs"), ("/", "ext4")],
)
def test_the_file_system_of_a_path_is_the_innermost_and_last_mount_above_it(path: str, name: str) -> None:
    assert _type_of(path, MOUNTINFO) == name


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say what a mount is")
def test_a_directory_in_memory_is_volatile() -> None:
    assert file_system_of("/dev/shm") is FileSystem.VOLATILE


@pytest.mark.parametrize(
    ("kind", "durable", "fenced"),
    [
        (FileSystem.LOCAL, True, True),
        (FileSystem.VOLATILE, False, True),
        (FileSystem.NETWORK, True, False),
        (FileSystem.SMB_MOUNT, False, False),
        (FileSystem.UNKNOWN, False, False),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems promise less")
def test_a_file_system_promises_no_more_than_it_keeps(kind: FileSystem, durable: bool, fenced: bool) -> None:
    assert _guarantees(kind) == Guarantees(
        atomic_replace=True,
        durable=durable,
        conditional_write="locked",
        lock_scope="host",
        lock_release="crash",
        fenced=fenced,
        lists=True,
        deletes=True,
    )


@pytest.fixture
def tmpfs(tmp_path: Path, needs_root: None) -> Iterator[Store]:
    mount = tmp_path / "tmpfs"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(mount)], check=True)
    try:
        with open_store(mount) as store:
            yield store
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_store_on_a_file_system_in_memory_is_not_durable_and_says_so(tmpfs: Store) -> None:
    assert not tmpfs.guarantees.durable


def test_it_locks_and_updates_all_the_same(tmpfs: Store) -> None:
    tmpfs.update("a", lambda _: b"1")
    assert tmpfs.read_snapshot("a").data == b"1"
