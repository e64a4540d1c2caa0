"""Over SFTP a document, its copy and its lock file let in whom they let in before, and nobody else."""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lacking
from exlab_store_sftp.faults import lock_file_closed
from exlab_store_sftp.server_script import SCRIPT, call
from ssh_server import SshServer, new_folder, running_sshd

from exlab_store import AccessDenied, Store, VersionConflict, open_store, version_of
from exlab_store.documents import DocumentKind, EquipmentJson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.one_interpreter

KIND = DocumentKind(EquipmentJson, "1.0")
EQUIPMENT = EquipmentJson(id="A", label="b", configured_local_root="/x", configured_nas_root="/y")
CORRUPT = b'{"id": 1'
OWNER, WRITER, READER, NAMED = 1001, 1002, 1003, 1004
GROUP = 2001


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with running_sshd() as found:
        yield found


@pytest.fixture
def folder(server: SshServer) -> Path:
    return new_folder(server)


@pytest.fixture(params=["shell", "alone"])
def store(request: pytest.FixtureRequest, server: SshServer, folder: Path) -> Iterator[Store]:
    """With a shell, and with SFTP alone."""
    port = server.port if request.param == "shell" else server.bare_port
    with open_store(server.url(folder.name, port=port), **server.options) as opened:
        yield opened


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def setfacl(entries: str, path: Path, *options: str) -> None:
    program = shutil.which("setfacl")
    if program is None:
        lacking("install Debian's package acl: its setfacl gives files access control lists")
    assert program is not None
    done = subprocess.run([program, *options, "-m", entries, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        lacking(f"use a file system with access control lists: {done.stderr}")


# Copies


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644], ids=oct)
def test_the_copy_has_the_mode_of_the_document(store: Store, folder: Path, mode: int) -> None:
    (folder / "doc.json").write_bytes(CORRUPT)
    (folder / "doc.json").chmod(mode)
    assert store.keep_copy("doc.json", "copy.json", CORRUPT)
    assert (folder / "copy.json").read_bytes() == CORRUPT
    assert mode_of(folder / "copy.json") == mode
    assert sorted(path.name for path in folder.iterdir()) == ["copy.json", "doc.json"]


def test_no_copy_is_made_through_a_link(store: Store, folder: Path) -> None:
    (folder / "secret").write_bytes(CORRUPT)
    (folder / "doc.json").symlink_to("secret")
    assert not store.keep_copy("doc.json", "copy.json", CORRUPT)
    assert sorted(path.name for path in folder.iterdir()) == ["doc.json", "secret"]


@pytest.mark.parametrize("what", ["changed", "gone", "a folder", "a pipe"])
def test_what_has_changed_since_it_was_read_is_not_copied(store: Store, folder: Path, what: str) -> None:
    document = folder / "doc.json"
    if what == "changed":
        document.write_bytes(b"something else")
    elif what == "a folder":
        document.mkdir()
    elif what == "a pipe":
        os.mkfifo(document)
    with pytest.raises(VersionConflict):
        store.keep_copy("doc.json", "copy.json", CORRUPT)
    assert [path.name for path in folder.iterdir()] == ([] if what == "gone" else ["doc.json"])


def test_a_link_planted_at_the_copys_name_is_replaced(store: Store, folder: Path) -> None:
    (folder / "doc.json").write_bytes(CORRUPT)
    (folder / "elsewhere").write_bytes(b"untouched")
    (folder / "copy.json").symlink_to("elsewhere")
    assert store.keep_copy("doc.json", "copy.json", CORRUPT)
    assert not (folder / "copy.json").is_symlink()
    assert (folder / "elsewhere").read_bytes() == b"untouched"


def test_a_repaired_document_leaves_a_private_copy(server: SshServer, folder: Path) -> None:
    (folder / "doc.json").write_bytes(CORRUPT)
    (folder / "doc.json").chmod(0o600)
    with open_store(server.url(folder.name), **server.options) as store:
        KIND.update(store / "doc.json", lambda _: EQUIPMENT)
    (copy,) = (path for path in folder.iterdir() if ".corrupt-" in path.name)
    assert mode_of(copy) == 0o600


def test_the_copy_has_the_access_control_list_of_the_document(server: SshServer, folder: Path) -> None:
    (folder / "doc.json").write_bytes(CORRUPT)
    setfacl(f"u:{NAMED}:rw,g::---,m::rw,o::-", folder / "doc.json")
    with open_store(server.url(folder.name), **server.options) as store:
        store.keep_copy("doc.json", "copy.json", CORRUPT)
    acls = [os.getxattr(folder / name, "system.posix_acl_access") for name in ("doc.json", "copy.json")]
    assert acls[0] == acls[1]


# New documents


def test_a_new_document_has_the_rights_that_its_folder_gives(store: Store, folder: Path) -> None:
    defaults = {"all": "u::rwx,g::rwx,o::rw", "usual": "", "private": "u::rwx,g::-,o::-"}
    for name, default in defaults.items():
        (folder / name).mkdir()
        if default:
            setfacl(default, folder / name, "-d")
        store.atomic_write(f"{name}/doc.json", b"1")
        (folder / name / "other").write_bytes(b"1")
    assert [mode_of(folder / name / "doc.json") for name in defaults] == [
        mode_of(folder / name / "other") for name in defaults
    ]
    assert {path.name for name in defaults for path in (folder / name).iterdir()} == {"doc.json", "other"}


@pytest.mark.usefixtures("needs_root")
def test_a_link_whose_end_may_not_be_seen_is_not_replaced(server: SshServer, folder: Path) -> None:
    account = pwd.getpwnam("daemon")
    os.chown(folder, account.pw_uid, account.pw_gid)
    (folder / "closed").mkdir(mode=0o700)
    (folder / "closed" / "secret").write_bytes(b"1")
    (folder / "hidden.json").symlink_to("closed/secret")
    (folder / "dangling.json").symlink_to("nothing")
    options: dict[str, Any] = {**server.options, "username": "daemon"}
    with open_store(server.url(folder.name), **options) as store:
        with pytest.raises(AccessDenied, match="link"):
            store.atomic_write("hidden.json", b"2")
        store.atomic_write("dangling.json", b"2")
    assert (folder / "hidden.json").is_symlink()
    assert not (folder / "dangling.json").is_symlink()
    assert sorted(path.name for path in folder.iterdir()) == ["closed", "dangling.json", "hidden.json"]


# What the program on the server does for other accounts, on servers that have less


class OnServer:
    """The program, as it would be run for any account.

    Args:
        programs: The folder of the programs that it finds in the place of the usual ones.
    """

    def __init__(self, programs: Path) -> None:
        self.programs = programs

    def ask(self, *requests: bytes, user: int, group: int) -> list[str]:
        done = subprocess.run(
            ["/bin/sh", "-c", SCRIPT],
            input=b"".join([call("hello", "mark", "/"), *requests]),
            stdout=subprocess.PIPE,
            env={"PATH": f"{self.programs}:/usr/bin:/bin"},
            umask=0o022,
            timeout=60,
            check=True,
            **_as(user, group),
        )
        greeting, *answers = done.stdout.decode().splitlines()
        assert greeting.endswith(" :"), greeting
        return answers

    def write(self, document: Path, data: bytes, *, user: int, group: int) -> None:
        temporary = f"{document.name}.tmp.1.0123456789abcdef"
        request = call("write", str(document.parent), temporary, document.name, str(len(data)), "end", "", "")
        assert self.ask(request + data + b"\nend\n", user=user, group=group) == ["done"]
        assert document.read_bytes() == data

    def keep_copy(self, document: Path, data: bytes, *, user: int, group: int) -> Path:
        folder = str(document.parent)
        request = call("keep", str(document), folder, "copy.tmp.1.0123456789abcdef", "copy.json", version_of(data))
        assert self.ask(request, user=user, group=group) == ["done"]
        return document.with_name("copy.json")


def _as(user: int, group: int) -> dict[str, Any]:
    return {"user": user, "group": group, "extra_groups": []}


def can_read(path: Path, *, user: int, group: int) -> bool:
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        ["cat", str(path)], capture_output=True, check=False, **_as(user, group)
    )
    return done.returncode == 0


_CP_WITHOUT_LISTS = """
/bin/cp "$@" || exit 1
for each; do old=$new new=$each; done
setfacl -b "$new"
case $* in *--no-preserve=mode*) ;; *) chmod --reference="$old" "$new";; esac
"""
_NO_ACL = {"setfacl": "exit 127", "getfacl": "exit 127"}
_PROGRAMS = {
    "all": {},
    "no setfacl": _NO_ACL,
    "a cp that keeps no lists": {"cp": _CP_WITHOUT_LISTS},
    "a cp that keeps nothing": {"cp": "exit 1"},
    "a cp that keeps nothing, and no setfacl": {"cp": "exit 1", **_NO_ACL},
}


@pytest.fixture(params=_PROGRAMS)
def on_server(request: pytest.FixtureRequest, open_folder: Path, needs_root: None) -> OnServer:
    programs = open_folder / "bin"
    programs.mkdir()
    for name, text in _PROGRAMS[request.param].items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    return OnServer(programs)


@pytest.fixture
def document(open_folder: Path) -> Path:
    folder = open_folder / "lab"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "doc.json").write_bytes(b"old")
    return folder / "doc.json"


@pytest.mark.parametrize("copied", [False, True], ids=["rewritten", "copied"])
def test_whom_a_list_denies_reads_neither_the_new_version_nor_a_copy(
    on_server: OnServer, document: Path, copied: bool
) -> None:
    os.chown(document, OWNER, GROUP)
    document.chmod(0o604)
    setfacl(f"u:{NAMED}:r", document)
    assert not can_read(document, user=READER, group=GROUP)
    if copied:
        document = on_server.keep_copy(document, b"old", user=WRITER, group=WRITER)
    else:
        on_server.write(document, b"new", user=WRITER, group=WRITER)
    assert not can_read(document, user=READER, group=GROUP)
    assert not can_read(document, user=READER, group=WRITER)


def test_the_mask_of_a_list_is_not_given_to_the_group(on_server: OnServer, document: Path) -> None:
    os.chown(document, WRITER, GROUP)
    document.chmod(0o600)
    setfacl(f"u:{NAMED}:rw", document)
    on_server.write(document, b"new", user=WRITER, group=GROUP)
    assert not can_read(document, user=READER, group=GROUP)


def test_whom_the_folders_default_list_names_gets_no_document_that_was_closed_to_him(
    on_server: OnServer, document: Path
) -> None:
    os.chown(document, WRITER, GROUP)
    document.chmod(0o640)
    setfacl(f"u:{NAMED}:rwx", document.parent, "-d")
    for group in (GROUP, WRITER):
        on_server.write(document, b"new", user=WRITER, group=group)
        assert not can_read(document, user=NAMED, group=NAMED)


@pytest.mark.parametrize(("mode", "given"), [(0o644, 0o644), (0o664, 0o644), (0o604, 0o600), (0o640, 0o600)])
def test_a_group_that_cannot_be_kept_gives_nobody_more(
    on_server: OnServer, document: Path, mode: int, given: int
) -> None:
    os.chown(document, OWNER, GROUP)
    document.chmod(mode)
    on_server.write(document, b"new", user=WRITER, group=WRITER)
    assert mode_of(document) == given


@pytest.mark.parametrize("on_server", ["all"], indirect=True)
def test_with_a_shell_such_a_link_is_not_replaced_either(on_server: OnServer, document: Path) -> None:
    (document.parent / "closed").mkdir(mode=0o700)
    (document.parent / "hidden.json").symlink_to("closed/secret")
    request = call(
        "write", str(document.parent), "hidden.json.tmp.1.0123456789abcdef", "hidden.json", "1", "end", "", ""
    )
    assert on_server.ask(request + b"2\nend\n", user=WRITER, group=WRITER) == ["hidden"]
    assert sorted(path.name for path in document.parent.iterdir()) == ["closed", "doc.json", "hidden.json"]


@pytest.mark.parametrize("on_server", ["all", "a cp that keeps nothing"], indirect=True)
@pytest.mark.parametrize("group", [GROUP, WRITER])
def test_whom_a_list_names_reads_the_new_version_too(on_server: OnServer, document: Path, group: int) -> None:
    os.chown(document, WRITER, GROUP)
    document.chmod(0o600)
    setfacl(f"u:{NAMED}:r", document)
    on_server.write(document, b"new", user=WRITER, group=group)
    assert can_read(document, user=NAMED, group=NAMED)
    assert not can_read(document, user=READER, group=READER)


# Lock files


def _lock(document: Path) -> bytes:
    return call("lock", f"{document}.lock", "0", "{}") + call("release")


@pytest.mark.parametrize("on_server", ["all"], indirect=True)
def test_whoever_may_put_documents_into_a_folder_can_lock_them_there(on_server: OnServer, document: Path) -> None:
    os.chown(document.parent, OWNER, GROUP)
    document.parent.chmod(0o770)
    setfacl(f"u:{WRITER}:rwx,u:{NAMED}:rwx", document.parent)
    for user, group in ((WRITER, WRITER), (NAMED, NAMED), (OWNER, OWNER), (READER, GROUP)):
        assert on_server.ask(_lock(document), user=user, group=group) == ["done", "done"]
    document.parent.chmod(0o777)  # whoever may only read the file could hold it, too
    assert not can_read(document.with_name("doc.json.lock"), user=READER, group=WRITER)


@pytest.mark.parametrize("on_server", ["no setfacl"], indirect=True)
def test_a_lock_file_that_is_closed_is_named_with_its_owner_and_the_remedy(on_server: OnServer, document: Path) -> None:
    lock = document.with_name("doc.json.lock")
    lock.touch()
    os.chown(lock, 0, GROUP)
    lock.chmod(0o640)
    (answer,) = on_server.ask(call("lock", str(lock), "0", "{}"), user=WRITER, group=WRITER)
    word, _, told = answer.partition(" ")
    assert word == "closed"
    error = lock_file_closed(lock.name, told)
    assert isinstance(error, AccessDenied)
    assert f"doc.json.lock is closed to this account: it belongs to user root and group {GROUP}, with mode 0640" in (
        error.message
    )
    assert "its owner or root" in str(error.hint)


def test_a_database_in_the_place_of_a_lock_file_is_told(server: SshServer, folder: Path) -> None:
    database = sqlite3.connect(folder / "database.json.lock")
    with closing(database), database:
        database.execute("create table a (b)")
    with open_store(server.url(folder.name), **server.options) as store, store.lock("doc.json", purpose="long " * 200):
        found = {each.name: each for each in store.list_leftovers()}
    assert {name: each.database for name, each in found.items()} == {"database.json.lock": True, "doc.json.lock": False}
    assert found["database.json.lock"].owner is None
    assert found["doc.json.lock"].size > 512
    assert found["doc.json.lock"].owner is not None
