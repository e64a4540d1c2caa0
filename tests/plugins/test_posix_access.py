"""Who may use a document after it was rewritten, and its lock file: nobody whom the one before it kept out."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lacking
from exlab_store_posix import acl, backend
from exlab_store_posix.acl import AclEntry, Tag
from filelock import ReadWriteLock

from exlab_store import AccessDenied, LocationError, NotSupported, Store, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="access control lists are tested on Linux"),
    pytest.mark.one_interpreter,
]

ANNA, BERT, STRANGER = 4301, 4302, 4303
TEAM, OTHER_TEAM = 4401, 4402
AS = """
import ctypes, os, sys  # now: the other account may not be able to read where they are
from exlab_store import open_store
store = open_store(sys.argv[1])
os.setgroups([int(number) for number in sys.argv[3].split(",") if number])
os.setgid({group}); os.setuid(int(sys.argv[2]))
os.umask(0o022)
{program}
"""


def run_as(user: int, program: str, folder: Path, *, group: int = OTHER_TEAM, groups: str = "") -> Any:
    """Runs a program as another account, with ``store`` opened, and returns what it printed."""
    command = [sys.executable, "-c", AS.format(program=program, group=group), str(folder), str(user), groups]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def list_of(path: Path) -> set[AclEntry]:
    return set(acl.parsed(os.getxattr(path, acl.ATTRIBUTE))) if acl.ATTRIBUTE in os.listxattr(path) else set()


def set_list(path: Path, *entries: AclEntry, default: bool = False) -> None:
    name = "system.posix_acl_default" if default else acl.ATTRIBUTE
    try:
        os.setxattr(path, name, acl.packed(entries))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            lacking("run the tests where temporary files are on a file system with access control lists")
        raise


def rules(owner: int, group: int, other: int, *named: AclEntry, mask: int = 7) -> list[AclEntry]:
    own = [AclEntry(Tag.OWNER, owner), AclEntry(Tag.OWNING_GROUP, group), AclEntry(Tag.OTHER, other)]
    return [*own, *named, AclEntry(Tag.MASK, mask)] if named else own


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def born(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The modes of temporary files at the moment at which they are made."""
    modes: list[int] = []
    make = os.open

    def noting(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        descriptor = make(path, flags, mode, **rest)
        if ".tmp." in os.fspath(path):
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(backend.os, "open", noting)
    return modes


# A temporary file


def test_a_private_document_is_private_from_the_first_moment_of_its_next_version(
    posix: Store, tmp_path: Path, born: list[int], umask: None
) -> None:
    posix.atomic_write("a.json", b"1")
    (tmp_path / "a.json").chmod(0o600)
    posix.atomic_write("a.json", b"2")
    assert (born, mode_of(tmp_path / "a.json")) == ([0o644, 0o600], 0o600)


@pytest.mark.usefixtures("needs_root")
def test_an_account_that_opens_every_temporary_file_never_reads_a_private_document(open_folder: Path) -> None:
    store = open_store(open_folder)
    store.atomic_write("a.json", b"secret")
    (open_folder / "a.json").chmod(0o600)
    watch = (
        "import pathlib, time\n"
        "seen, end = [], time.monotonic() + 60\n"
        "print('ready', flush=True)\n"
        "while time.monotonic() < end and not pathlib.Path(sys.argv[1], 'stop').exists():\n"
        "    for name in os.listdir(sys.argv[1]):\n"
        "        if '.tmp.' in name:\n"
        "            try: seen.append(open(os.path.join(sys.argv[1], name), 'rb'))\n"
        "            except OSError: pass\n"
        "print(sum(b'secret' in file.read() for file in seen), len(seen))\n"
    )
    command = [sys.executable, "-c", AS.format(program=watch, group=OTHER_TEAM), str(open_folder), str(STRANGER), ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        for _ in range(300):
            store.atomic_write("a.json", b"secret")
        (open_folder / "stop").touch()
        assert watcher.stdout.read().split() == ["0", "0"]


@pytest.mark.parametrize("mode", [0o600, 0o640], ids=oct)
def test_the_mode_of_a_document_behind_a_link_counts(posix: Store, tmp_path: Path, mode: int, umask: None) -> None:
    (tmp_path / "real").write_bytes(b"1")
    (tmp_path / "real").chmod(mode)
    (tmp_path / "a.json").symlink_to("real")
    posix.atomic_write("a.json", b"2")
    assert (mode_of(tmp_path / "a.json"), (tmp_path / "a.json").is_symlink()) == (mode, False)
    assert (tmp_path / "real").read_bytes() == b"1"


@pytest.mark.usefixtures("needs_root")
def test_a_document_behind_a_link_that_leads_to_where_nobody_else_may_look_is_not_replaced(
    open_folder: Path, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "a.json").write_bytes(b"secret")
    (open_folder / "a.json").symlink_to(private / "a.json")
    write = "try: store.atomic_write('a.json', b'2')\nexcept PermissionError as error: print(error)"
    assert "Remove the link" in run_as(ANNA, write, open_folder)
    assert (open_folder / "a.json").is_symlink()


# Access control lists


def test_a_list_is_kept(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("a.json", b"1")
    wanted = rules(6, 0, 0, AclEntry(Tag.USER, 4, ANNA), AclEntry(Tag.GROUP, 6, TEAM), mask=6)
    set_list(tmp_path / "a.json", *wanted)
    posix.atomic_write("a.json", b"2")
    assert list_of(tmp_path / "a.json") == set(wanted)


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("writer", [0, ANNA])
def test_the_mask_of_a_list_is_not_given_to_the_group(open_folder: Path, writer: int) -> None:
    open_folder.chmod(0o777)
    store = open_store(open_folder)
    store.atomic_write("a.json", b"1")
    os.chown(open_folder / "a.json", BERT, TEAM)
    set_list(open_folder / "a.json", *rules(6, 0, 0, AclEntry(Tag.USER, 4, ANNA), mask=4))
    assert mode_of(open_folder / "a.json") == 0o640  # what the group seems to have
    if writer:
        run_as(writer, "store.atomic_write('a.json', b'2')", open_folder, group=TEAM)
    else:
        store.atomic_write("a.json", b"2")
    read = "try: store.read_snapshot('a.json'); print('read')\nexcept PermissionError: print('refused')"
    assert run_as(STRANGER, read, open_folder, group=TEAM) == "refused"
    assert run_as(ANNA, read, open_folder, group=OTHER_TEAM) == "read"


def test_a_document_without_a_list_gets_none_from_its_folder_when_it_is_rewritten(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("a.json", b"1")
    (tmp_path / "a.json").chmod(0o640)
    set_list(tmp_path, *rules(7, 5, 5, AclEntry(Tag.USER, 6, ANNA)), default=True)
    posix.atomic_write("a.json", b"2")
    assert (list_of(tmp_path / "a.json"), mode_of(tmp_path / "a.json")) == (set(), 0o640)


def test_a_new_document_gets_what_its_folder_gives(posix: Store, tmp_path: Path) -> None:
    set_list(tmp_path, *rules(7, 5, 0, AclEntry(Tag.USER, 6, ANNA)), default=True)
    posix.atomic_write("a.json", b"1")
    assert AclEntry(Tag.USER, 6, ANNA) in list_of(tmp_path / "a.json")


def test_a_list_that_cannot_be_kept_leaves_nobody_more_than_before(
    posix: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posix.atomic_write("a.json", b"1")
    set_list(tmp_path / "a.json", *rules(6, 6, 4, AclEntry(Tag.USER, 0, ANNA), mask=6))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, "no such user here")

    monkeypatch.setattr(os, "setxattr", refuse)
    posix.atomic_write("a.json", b"2")
    assert mode_of(tmp_path / "a.json") == 0o600  # 0644 would let in who was shut out by name


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize(("mode", "left"), [(0o640, 0o600), (0o664, 0o644), (0o604, 0o600)], ids=oct)
def test_a_group_that_cannot_be_kept_changes_sides_with_others(open_folder: Path, mode: int, left: int) -> None:
    open_folder.chmod(0o777)
    (open_folder / "a.json").write_bytes(b"1")
    os.chown(open_folder / "a.json", BERT, TEAM)
    (open_folder / "a.json").chmod(mode)
    run_as(ANNA, "store.atomic_write('a.json', b'2')", open_folder, group=OTHER_TEAM)
    status = (open_folder / "a.json").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (ANNA, OTHER_TEAM, left)


def test_attributes_of_users_are_kept(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("a.json", b"1")
    try:
        os.setxattr(tmp_path / "a.json", "user.instrument", b"CONFOCAL_01")
    except OSError:
        lacking("run the tests where temporary files are on a file system with user attributes")
    posix.atomic_write("a.json", b"2")
    assert os.getxattr(tmp_path / "a.json", "user.instrument") == b"CONFOCAL_01"


# Documents that are private


@pytest.mark.parametrize("mode", [0o600, 0o660], ids=oct)
def test_a_store_that_is_opened_with_a_mode_gives_it_to_all_documents(
    tmp_path: Path, mode: int, born: list[int], umask: None
) -> None:
    (tmp_path / "old.json").write_bytes(b"1")
    with open_store(tmp_path, mode=mode) as store:
        store.atomic_write("new.json", b"1")
        store.update("old.json", lambda _: b"2")
    assert mode_of(tmp_path / "new.json") == mode_of(tmp_path / "old.json") == mode
    assert born == [0o600, 0o600]


def test_a_mode_takes_the_lists_of_the_folder_away(tmp_path: Path) -> None:
    set_list(tmp_path, *rules(7, 5, 0, AclEntry(Tag.USER, 6, ANNA)), default=True)
    with open_store(tmp_path, mode=0o640) as store:
        store.atomic_write("a.json", b"1")
    assert (list_of(tmp_path / "a.json"), mode_of(tmp_path / "a.json")) == (set(), 0o640)


@pytest.mark.parametrize("mode", [600, 0o400, 0o1600, "0600", True])
def test_a_mode_that_is_none_is_refused(tmp_path: Path, mode: object) -> None:
    with pytest.raises(LocationError, match="0o600"):
        open_store(tmp_path, mode=mode)


def test_a_site_s_configuration_can_make_all_documents_of_a_store_private(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    site = tmp_path / "exlab-store.toml"
    site.write_text(f"[stores.private]\nurl = '{tmp_path / 'lab'}'\noptions = {{ mode = 0o600 }}\n")
    with open_store("@private", config=site) as store:
        store.atomic_write("a.json", b"1")
    assert mode_of(tmp_path / "lab" / "a.json") == 0o600


def test_a_mode_that_the_file_system_does_not_keep_is_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: None
) -> None:
    # As on vfat, which few kernels of test machines have: every file has the mode of the mount, and none is changed.
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no permissions here")

    store = open_store(tmp_path, mode=0o600)
    monkeypatch.setattr(backend, "PRIVATE", 0o644)
    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(NotSupported, match="mode"):
        store.atomic_write("a.json", b"secret")
    assert list(tmp_path.iterdir()) == []


# Errors that stay


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EBUSY, AccessDenied), (errno.EINVAL, NotSupported), (errno.ENOSYS, NotSupported)]
)
def test_a_refusal_for_good_is_not_repeated(
    posix: Store, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[StoreError]
) -> None:
    asked: list[int] = []

    def refuse(*_: object) -> None:
        asked.append(number)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(expected):
        posix.atomic_write("a.json", b"1")
    assert asked == [number]


@pytest.mark.usefixtures("needs_root")
def test_an_owner_without_a_number_in_this_user_namespace_keeps_nobody_from_writing(open_folder: Path) -> None:
    open_folder.chmod(0o777)
    (open_folder / "a.json").write_bytes(b"1")
    os.chown(open_folder / "a.json", BERT, TEAM)
    (open_folder / "a.json").chmod(0o644)
    program = """
libc = ctypes.CDLL(None)
libc.prctl(4, 1)  # PR_SET_DUMPABLE: /proc/self is this account's again
if libc.unshare(0x10000000):  # CLONE_NEWUSER
    sys.exit("no namespace")
open("/proc/self/setgroups", "w").write("deny")
open("/proc/self/uid_map", "w").write(f"0 {sys.argv[2]} 1")
open("/proc/self/gid_map", "w").write("0 4402 1")
store.atomic_write("a.json", b"2")
"""
    try:
        run_as(ANNA, program, open_folder)
    except subprocess.CalledProcessError as error:
        if "no namespace" not in error.stderr:
            raise
        lacking("run the tests where accounts may make user namespaces (sysctl kernel.unprivileged_userns_clone=1)")
    assert (open_folder / "a.json").read_bytes() == b"2"


# Lock files


@pytest.mark.usefixtures("needs_root")
def test_the_owner_of_a_folder_can_lock_after_root_has(open_folder: Path) -> None:
    os.chown(open_folder, ANNA, TEAM)
    open_store(open_folder).lock("a.json").release()
    assert run_as(ANNA, "store.lock('a.json').release(); print('locked')", open_folder) == "locked"


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("folder_mode", [0o775, 0o2775], ids=oct)
def test_all_of_a_folder_s_group_can_lock_whoever_was_first(open_folder: Path, folder_mode: int) -> None:
    os.chown(open_folder, 0, TEAM)
    open_folder.chmod(folder_mode)
    run_as(ANNA, "store.lock('a.json').release()", open_folder, group=ANNA, groups=str(TEAM))
    lock = "store.lock('a.json').release(); print('locked')"
    assert run_as(BERT, lock, open_folder, group=BERT, groups=str(TEAM)) == "locked"


@pytest.mark.usefixtures("needs_root")
def test_who_may_write_into_a_folder_by_its_list_can_lock(open_folder: Path) -> None:
    set_list(open_folder, *rules(7, 5, 5, AclEntry(Tag.USER, 7, ANNA), AclEntry(Tag.USER, 7, BERT)))
    run_as(ANNA, "store.lock('a.json').release()", open_folder)
    lock = "store.lock('a.json').release(); print('locked')"
    assert run_as(BERT, lock, open_folder) == "locked"
    refused = "try: store.lock('a.json')\nexcept PermissionError: print('refused')"
    assert run_as(STRANGER, refused, open_folder) == "refused"


@pytest.mark.usefixtures("needs_root")
def test_who_may_write_into_a_folder_can_lock_whatever_its_default_list_gives(open_folder: Path) -> None:
    os.chown(open_folder, ANNA, TEAM)
    open_folder.chmod(0o2770)
    set_list(open_folder, *rules(7, 5, 0, AclEntry(Tag.USER, 5, STRANGER)), default=True)
    lock = 'with store.lock("a.json", timeout=5): print("locked")'
    assert run_as(ANNA, lock, open_folder, group=TEAM) == "locked"
    assert run_as(BERT, lock, open_folder, group=TEAM) == "locked"


@pytest.mark.usefixtures("needs_root")
def test_a_folder_that_may_not_be_entered_refuses_the_lock_with_a_cause_that_is_another_error(
    open_folder: Path,
) -> None:
    (open_folder / "closed").mkdir(0o700)
    program = 'try:\n    store.lock("closed/a.json")\nexcept BaseException as error:\n'
    program += "    print(type(error).__name__, type(error.__cause__).__name__, error.__cause__.__cause__)"
    assert run_as(ANNA, program, open_folder) == "AccessDenied PermissionError None"


@pytest.mark.usefixtures("needs_root")
def test_a_lock_file_that_keeps_an_account_out_is_named_with_its_owner_and_the_remedy(open_folder: Path) -> None:
    open_folder.chmod(0o777)
    (open_folder / "a.json.lock").touch(mode=0o644)
    said = run_as(ANNA, "try: store.lock('a.json')\nexcept PermissionError as error: print(error)", open_folder)
    assert (
        "the lock file a.json.lock is closed to this account: it belongs to user root and group root, with mode" in said
    )
    assert "never deleted" in said


@pytest.mark.usefixtures("needs_root")
def test_a_lock_file_that_keeps_somebody_out_is_found_by_looking(open_folder: Path) -> None:
    os.chown(open_folder, ANNA, TEAM)
    open_folder.chmod(0o775)
    store = open_store(open_folder)
    store.lock("good.json").release()
    (open_folder / "bad.json.lock").touch(mode=0o644)
    found = {leftover.name: leftover.excludes for leftover in store.list_leftovers()}
    assert found == {"good.json.lock": (), "bad.json.lock": (f"user {ANNA}", f"group {TEAM}")}


# Lock files that are somebody else's databases


def test_an_empty_lock_file_is_usable_as_a_database_after_a_lock(posix: Store, tmp_path: Path) -> None:
    other = ReadWriteLock(str(tmp_path / "a.json.lock"), is_singleton=False)
    with other.read_lock(timeout=5):
        pass
    with posix.lock("a.json"):
        pass
    assert (tmp_path / "a.json.lock").stat().st_size == 0
    with other.write_lock(timeout=5):
        pass


def test_nothing_is_written_into_an_empty_lock_file_while_it_is_in_use_as_a_database(
    posix: Store, tmp_path: Path
) -> None:
    other = ReadWriteLock(str(tmp_path / "a.json.lock"), is_singleton=False)
    with other.write_lock(timeout=5), posix.lock("a.json"):
        assert (tmp_path / "a.json.lock").stat().st_size == 0


def test_nothing_is_written_into_a_database(posix: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.json.lock"
    with sqlite3.connect(path) as database:
        database.execute("create table kept (text)")
    database.close()
    before = path.read_bytes()
    with posix.lock("a.json"):
        pass
    assert path.read_bytes() == before


def test_a_lock_file_that_is_a_database_is_called_so(posix: Store, tmp_path: Path) -> None:
    posix.lock("ours.json").release()
    with sqlite3.connect(tmp_path / "a.json.lock") as database:
        database.execute("create table kept (text)")
    database.close()
    found = {leftover.name: leftover.database for leftover in posix.list_leftovers()}
    assert found == {"a.json.lock": True, "ours.json.lock": False}


def test_a_holder_is_named_in_a_lock_file_that_was_empty(posix: Store, tmp_path: Path) -> None:
    (tmp_path / "a.json.lock").touch()
    seen: list[object] = []
    with posix.lock("a.json", purpose="re-sync"), open_store(tmp_path) as other:

        def ask() -> None:
            try:
                other._hooks.lock("a.json", None, 0.0, lambda: False)  # type: ignore[arg-type]
            except TimeoutError as error:
                seen.append(error.holder.purpose)  # type: ignore[attr-defined]

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert seen == ["re-sync"]
