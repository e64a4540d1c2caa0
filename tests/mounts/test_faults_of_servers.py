"""What Linux answers where a server fails, and what a store makes of it: nothing has happened, or nobody can tell."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exlab_store import BackendUnavailable, LockTimeout, StoreError, WriteOutcomeUnknown, open_store
from mounts.machines import EXPORT, KINDS, A, B, C, Site, new_site

pytestmark = [pytest.mark.one_interpreter, pytest.mark.slow]

_PATIENCE = 240.0  # seconds; this machine may be busy
_SMB = "/run/smb/smb.conf"


def _processes(program: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "comm").read_text()
        except OSError:  # it has ended
            continue
        if name == f"{program}\n":
            found.append(int(folder.name))
    return found


def _restart_nfsd() -> None:
    for threads in (["0"], ["-V", "3", "-V", "4", "8"]):
        subprocess.run(["rpc.nfsd", *threads], check=True, timeout=60)


def _restart_smbd() -> None:
    for process in _processes("smbd"):
        os.kill(process, signal.SIGKILL)
    subprocess.run(["smbd", "-D", "-l", "/run/smb", "-s", _SMB], check=True, timeout=60)


def _first_failure(call: Callable[[], object]) -> StoreError:
    over = time.monotonic() + _PATIENCE
    while time.monotonic() < over:
        try:
            call()
        except StoreError as error:
            return error
        time.sleep(0.05)
    raise AssertionError("nothing has failed")


@pytest.fixture
def mounted() -> Iterator[Callable[[], Path]]:
    """Mounts a share that no other test uses, and mounts it again after the first time."""
    point = Path("/mnt/a/closed")
    point.mkdir(parents=True)

    def mount() -> Path:
        if os.path.ismount(point):
            subprocess.run(A.command("umount", point), check=True, timeout=60)
        options = KINDS["cifs-strict"].all_options(A.server)
        subprocess.run(
            A.command("mount", "-t", "cifs", "-o", options, f"//{A.server}/closed", point), check=True, timeout=60
        )
        return point

    yield mount
    subprocess.run(A.command("umount", "-l", point), check=True, timeout=60)


def test_a_share_that_the_server_has_taken_away_fails_until_it_is_mounted_again(mounted: Callable[[], Path]) -> None:
    with open_store(mounted(), retry=None) as store:
        store.atomic_write("taken-away.json", b"1")
        subprocess.run(["smbcontrol", "-s", _SMB, "smbd", "close-share", "closed"], check=True, timeout=60)
        failures = [_first_failure(lambda: store.read_snapshot("taken-away.json")) for _ in range(3)]
        # Linux says the one until it gives up, and then the other for good.
        for failure in failures:
            assert isinstance(failure, BackendUnavailable)
            assert failure.errno in {errno.EREMCHG, errno.EAGAIN}
            assert "mount it again" in (failure.hint or "")
        with pytest.raises(BackendUnavailable):
            store.atomic_write("taken-away.json", b"2")
        mounted()
        assert store.read_snapshot("taken-away.json").data == b"1"


def _refused_lock(folder: Path) -> tuple[str, int | None, str | None]:
    with open_store(folder) as store:
        store.atomic_write("d.json", b"1")
        with pytest.raises(BackendUnavailable) as refused:
            store.update("d.json", lambda current: b"2")
        assert store.read_snapshot("d.json").data == b"1"
    return type(refused.value).__name__, refused.value.errno, refused.value.hint


def test_an_nfs_3_mount_without_its_lock_service_refuses_an_update_and_says_what_is_missing() -> None:
    site = new_site("nfs-3")
    of_c = os.stat("/run/net/c").st_ino
    for process in _processes("rpc.statd"):
        if os.stat(f"/proc/{process}/ns/net").st_ino == of_c:
            os.kill(process, signal.SIGKILL)
    with C.pool() as c:
        name, number, hint = c.submit(_refused_lock, C.mount("nfs-3") / site.name).result(_PATIENCE)
    assert (name, number) == ("BackendUnavailable", errno.ENOLCK)
    assert "rpc.statd" in (hint or "")


@pytest.mark.parametrize("kind", ["nfs-4.2", "nfs-4.0", "nfs-3"])
def test_a_lock_outlives_a_restart_of_an_nfs_server(site: Site) -> None:
    with open_store(site.a) as holder, open_store(site.b) as other:
        with holder.lock("d.json") as held:
            _restart_nfsd()
            # In the grace period, in which holders take their locks again, the kernel itself waits: 10 s here.
            with pytest.raises(LockTimeout):
                other.lock("d.json", timeout=0.5)
            held.ensure_held()
            holder.atomic_write("d.json", b"first ")
        other.update("d.json", lambda current: (current or b"") + b"second", timeout=_PATIENCE)
    assert (site.server / "d.json").read_bytes() == b"first second"


def test_an_update_whose_smb_server_was_restarted_begins_again_after_its_successor() -> None:
    name = new_site("cifs-strict").name
    folders = [machine.mount("cifs-strict", "hard") / name for machine in (A, B)]
    calls = 0

    with open_store(folders[0]) as first, open_store(folders[1]) as second:
        first.atomic_write("d.json", b"")

        def change(current: bytes | None) -> bytes:
            nonlocal calls
            calls += 1
            if calls == 1:
                _restart_smbd()
                second.update("d.json", lambda found: (found or b"") + b"second ", timeout=_PATIENCE)
            return (current or b"") + b"first "

        first.update("d.json", change, timeout=_PATIENCE)
    assert ((EXPORT / name / "d.json").read_bytes(), calls) == (b"second first ", 2)


@pytest.mark.parametrize(
    ("kind", "options", "numbers"),
    [
        ("nfs-4.2", "soft,timeo=30,retrans=1", {errno.EIO}),
        ("cifs-strict", "echo_interval=2", {errno.EAGAIN, errno.EHOSTDOWN}),
    ],
)
def test_on_a_soft_mount_nobody_knows_what_came_of_a_rename_that_was_given_up(
    kind: str, options: str, numbers: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = new_site(kind).name
    rename = os.replace

    def cut_off(source: str, target: str) -> None:
        A.cut()
        try:
            rename(source, target)
        finally:
            A.restore()

    with open_store(A.mount(kind, options) / name) as store:
        store.atomic_write("d.json", b"old")
        monkeypatch.setattr(os, "replace", cut_off)
        with pytest.raises(WriteOutcomeUnknown) as unknown:
            store.atomic_write("d.json", b"new")
    assert isinstance(unknown.value.__cause__, OSError)
    assert unknown.value.__cause__.errno in numbers
    assert (EXPORT / name / "d.json").read_bytes() in {b"old", b"new"}
