"""What a file system can promise, as it is mounted, is what the backend's guarantees say."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from exlab_store_posix import replacing
from exlab_store_posix.claims import claims_of
from exlab_store_posix.faults import did_not_happen
from exlab_store_posix.mounts import FileSystem, MountedFileSystem, _mount_above, mount_of

from exlab_store import BackendUnavailable, Guarantees, Store, open_store, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 22 0:28 / /mnt rw - tmpfs tmpfs rw
35 31 0:44 / /mnt/nas rw,relatime shared:2 - cifs //nas/lab rw,vers=3.1.1,cache=strict,nobrl,actimeo=1
36 22 0:45 / /mnt/with\\040space rw,noatime - nfs4 nas:/lab rw,vers=4.2,soft,local_lock=none
37 22 0:46 / /srv rw - xfs /dev/vdb rw
38 22 0:47 / /srv rw - fuse.sshfs nas:/ rw
"""

NFS = {"vers": "4.2", "local_lock": "none"}
CIFS = {"vers": "3.1.1", "cache": "strict"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/data", "LOCAL"), ("/mnt/x", "VOLATILE"), ("/mnt/nas", "SMB_MOUNT"), ("/mnt/nas/x", "SMB_MOUNT")]
    + [("/mnt/nasty", "VOLATILE"), ("/mnt/with space/x", "NFS"), ("/srv/x", "UNKNOWN"), ("/", "LOCAL")],
)
def test_the_file_system_of_a_path_is_the_innermost_and_last_mount_above_it(path: str, kind: str) -> None:
    assert _mount_above(path, MOUNTINFO).kind is FileSystem[kind]


def test_the_options_of_a_mount_are_those_of_the_mount_and_of_its_file_system() -> None:
    assert _mount_above("/mnt/with space", MOUNTINFO).options == {
        "rw": "",
        "noatime": "",
        "vers": "4.2",
        "soft": "",
        "local_lock": "none",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say what a mount is")
def test_a_directory_in_memory_is_volatile() -> None:
    assert mount_of("/dev/shm").kind is FileSystem.VOLATILE


@pytest.mark.parametrize(
    ("mount", "durable", "fenced", "scope", "fresh"),
    [
        (MountedFileSystem(FileSystem.LOCAL), True, True, "host", "always"),
        (MountedFileSystem(FileSystem.VOLATILE), False, True, "host", "always"),
        (MountedFileSystem(FileSystem.NETWORK), True, False, "host", "none"),
        (MountedFileSystem(FileSystem.NFS, NFS), True, False, "site", "always"),
        (MountedFileSystem(FileSystem.NFS, {**NFS, "vers": "4.0"}), True, False, "site", "always"),
        (MountedFileSystem(FileSystem.NFS, {**NFS, "vers": "3"}), True, False, "host", "none"),
        (MountedFileSystem(FileSystem.NFS, {**NFS, "local_lock": "all"}), True, False, "host", "none"),
        (MountedFileSystem(FileSystem.NFS, {**NFS, "local_lock": "flock"}), True, False, "host", "none"),
        (MountedFileSystem(FileSystem.NFS, {**NFS, "local_lock": "posix"}), True, False, "host", "none"),
        (MountedFileSystem(FileSystem.NFS, {**NFS, "nocto": ""}), True, False, "host", "none"),
        (MountedFileSystem(FileSystem.NFS), True, False, "host", "none"),
        (MountedFileSystem(FileSystem.SMB_MOUNT, CIFS), False, False, "site", "locked"),
        (MountedFileSystem(FileSystem.SMB_MOUNT, {**CIFS, "cache": "none"}), False, False, "site", "locked"),
        (MountedFileSystem(FileSystem.SMB_MOUNT, {**CIFS, "nobrl": ""}), False, False, "host", "none"),
        (MountedFileSystem(FileSystem.SMB_MOUNT, {"vers": "1.0"}), False, False, "host", "none"),
        (MountedFileSystem(FileSystem.SMB_MOUNT), False, False, "host", "none"),
        (MountedFileSystem(FileSystem.UNKNOWN), False, False, "host", "none"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems promise less")
def test_a_mount_promises_no_more_than_it_keeps(
    mount: MountedFileSystem, durable: bool, fenced: bool, scope: str, fresh: str
) -> None:
    assert claims_of(mount) == Guarantees(
        atomic_replace=mount.kind is not FileSystem.SMB_MOUNT,
        durable=durable,
        conditional_write="locked",
        lock_scope=scope,  # type: ignore[arg-type]
        lock_release="crash",
        fenced=fenced,
        lists=True,
        deletes=True,
        fresh=fresh,  # type: ignore[arg-type]
        watch="pushed" if mount.kind.is_of_this_machine else "polled",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other numbers")
@pytest.mark.parametrize(
    ("number", "proves"),
    [("EIO", False), ("ESTALE", False), ("ETIMEDOUT", False), ("EHOSTDOWN", False), ("EAGAIN", False)]
    + [("EREMCHG", False), ("ENOLCK", False), ("ENOENT", False), ("EACCES", True), ("ENOSPC", True), ("EROFS", True)],
)
def test_what_a_server_says_of_a_rename_proves_that_it_did_not_happen_or_nothing(number: str, proves: bool) -> None:
    assert did_not_happen(OSError(getattr(errno, number), ""), remote=True) is proves


def test_a_rename_that_the_kernel_would_leave_out_as_one_file_has_both_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "_PATIENCE", 0.05)
    (tmp_path / "new").write_bytes(b"1")
    os.link(tmp_path / "new", tmp_path / "d")
    with pytest.raises(BackendUnavailable, match="takes the new document and the old one for one file"):
        replacing.rename_over(str(tmp_path / "new"), str(tmp_path / "d"), FileSystem.SMB_MOUNT, version_of(b"1"))


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
