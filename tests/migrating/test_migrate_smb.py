"""`migrate` to a real SMB share and back: killed half-way, and with everything that a share can have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lacking
from sites import contents, documents, fill_directory

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    LocationError,
    LockTimeout,
    StorageFull,
    Store,
    open_store,
    version_of,
)
from exlab_store.migrating import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

COMMAND = [sys.executable, "-m", "exlab_store.cli", "migrate"]


@pytest.fixture
def share(samba: SambaServer) -> Iterator[Store]:
    with open_store(samba.url("lab", password=True), create=True) as store:
        yield store


def command(samba: SambaServer, *arguments: str) -> subprocess.Popen[bytes]:
    account = {f"FSSPEC_SMB_{name.upper()}": value for name, value in samba.options.items()}
    return subprocess.Popen(
        [*COMMAND, *arguments, "--create", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | account,
    )


def finished(samba: SambaServer, *arguments: str) -> dict[str, Any]:
    with command(samba, *arguments) as process:
        said, complained = process.communicate(timeout=300)
    assert (process.returncode, complained) == (0, b"")
    answer: dict[str, Any] = json.loads(said)
    assert answer["complete"]
    return answer


def killed(samba: SambaServer, *arguments: str, when: int, target: Path) -> None:
    """Kills a migration when the target's directory has this many documents."""
    with command(samba, *arguments) as process:
        while sum(1 for _ in target.glob("**/*.json")) < when:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def there_and_back(samba: SambaServer, tmp_path: Path, count: int) -> None:
    """Moves a directory to the share, and the share to another directory; each is killed half-way, and resumed."""
    held = fill_directory(tmp_path / "old", documents(count))
    expected = {key: version_of(data) for key, data in held.items()}
    old, url, new = str(tmp_path / "old"), samba.url("lab", user=False), str(tmp_path / "new")

    for source, target, directory in ((old, url, samba.root / "lab"), (url, new, tmp_path / "new")):
        killed(samba, source, target, "--delete-source", when=count // 2, target=directory)
        with open_store(directory) as store:
            half = contents(store)
        assert count // 2 <= len(half) < count
        assert half.items() <= held.items()  # whole, each of them
        answer = finished(samba, source, target, "--delete-source")
        assert {each["key"]: each["version"] for each in answer["documents"]} == expected
        assert answer["counts"]["present"] >= count // 2 - 1
        assert answer["deleted"] == count
        with open_store(directory) as store:
            assert contents(store) == held
    with open_store(samba.url("lab", password=True)) as store:
        assert store.list_keys() == []


def test_a_migration_to_a_share_and_back_is_killed_half_way_and_resumed(samba: SambaServer, tmp_path: Path) -> None:
    there_and_back(samba, tmp_path, 120)


@pytest.mark.slow
def test_two_thousand_documents_to_a_share_and_back(samba: SambaServer, tmp_path: Path) -> None:
    there_and_back(samba, tmp_path, 2000)


def test_a_directory_and_the_share_that_exports_it_are_one_place(samba: SambaServer, share: Store) -> None:
    share.atomic_write("a.json", b"1")
    share.atomic_write("sub/b.json", b"2")
    with open_store(samba.root / "lab") as directory, open_store(samba.root / "lab" / "sub") as inner:
        for source, target in ((directory, share), (share, directory), (share, inner)):
            with pytest.raises(LocationError, match=r"the same place|inside the source"):
                migrate(source, target, delete_source=True)
    assert contents(share) == {"a.json": b"1", "sub/b.json": b"2"}


def test_a_lock_of_another_program_on_the_share_is_respected(samba: SambaServer, share: Store, posix: Store) -> None:
    posix.atomic_write("a.json", b"1")
    posix.atomic_write("b.json", b"2")
    with open_store(samba.root / "lab", create=True) as server, server.lock("a.json", purpose="on the server"):
        migration = migrate(posix, share, lock_timeout=0.2, delete_source=True)
    assert [(each.key, each.outcome) for each in migration.documents] == [("a.json", "locked"), ("b.json", "copied")]
    assert "on the server" in str(migration.problems[0].holder)
    assert len(contents(posix)) == 2


def test_while_a_lock_is_held_on_the_share_it_is_not_left(samba: SambaServer, share: Store, posix: Store) -> None:
    share.atomic_write("a.json", b"1")
    share.atomic_write("b.json", b"2")
    with (
        open_store(samba.root / "lab") as server,
        server.lock("b.json", purpose="on the server"),
        pytest.raises(LockTimeout, match="nothing was copied") as caught,
    ):
        migrate(share, posix, lock_timeout=0.2)
    assert "on the server" in str(caught.value.holder)
    assert contents(posix) == {}


def test_a_share_that_may_only_be_read_can_be_left(samba: SambaServer, posix: Store) -> None:
    held = fill_directory(samba.root, documents(10))
    samba.add_share("frozen", samba.root, read_only="yes")
    with open_store(samba.url(share="frozen", password=True)) as frozen:
        migration = migrate(frozen, posix)
        assert (migration.complete, migration.unlocked) == (True, 10)
        assert contents(posix) == held
        with pytest.raises(AccessDenied):
            migrate(frozen, posix, delete_source=True)


def test_two_names_that_differ_in_case_are_one_on_the_share(share: Store, posix: Store) -> None:
    for name in ("a.json", "A.json"):
        posix.atomic_write(name, b"the same")
    posix.atomic_write("b.json", b"2")
    migration = migrate(posix, share, delete_source=True)
    assert migration.count("conflict") == 1
    assert "another spelling" in (migration.problems[0].reason or "")
    assert len(contents(posix)) == 3


def test_a_server_that_stops_in_the_middle_ends_it_and_the_next_run_goes_on(samba: SambaServer, posix: Store) -> None:
    held = {f"{number}.json": b"%d" % number for number in range(60)}
    for key, data in held.items():
        posix.atomic_write(key, data)
    with open_store(samba.url(password=True), timeout=2.0, retry=None) as share:

        def stop(phase: str, done: int, total: int) -> None:
            if (phase, done) == ("copying", 20):
                samba.stop()

        migration = migrate(posix, share, delete_source=True, progress=stop)
        assert isinstance(migration.stopped_by, BackendUnavailable)
        assert migration.deleted == 0
        samba.start()
        again = migrate(posix, share)
        assert again.complete, again.problems
        assert again.count("present") >= 20
        assert contents(share) == held


def test_a_share_that_is_full_ends_it_and_room_lets_it_go_on(
    samba: SambaServer, posix: Store, tmp_path: Path, needs_root: None
) -> None:
    held = {f"{number}.json": os.urandom(200_000) for number in range(12)}
    for key, data in held.items():
        posix.atomic_write(key, data)
    volume = samba.directory / "volume"
    volume.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0777,size=1m", "none", str(volume)], check=False).returncode:
        lacking("run the tests as root (sudo) to mount file systems and to change accounts")
    try:
        samba.add_share("volume", volume)
        with open_store(samba.url(share="volume", password=True)) as full:
            migration = migrate(posix, full, delete_source=True)
            assert isinstance(migration.stopped_by, StorageFull)
            assert contents(full).items() < held.items()
            assert not list(volume.rglob("*.tmp.*"))
            assert contents(posix) == held
            subprocess.run(["mount", "-o", "remount,size=8m", str(volume)], check=True)
            assert migrate(posix, full, delete_source=True).deleted == len(held)
            assert contents(full) == held
    finally:
        subprocess.run(["umount", "--lazy", str(volume)], check=True)
