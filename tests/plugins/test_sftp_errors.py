"""What goes wrong on an SFTP server, each with its own error; and no secret in any of them."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lacking
from ssh_server import PASSPHRASE, SshServer, new_folder, running_sshd
from standing_still import standing_still

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    GuaranteeNotMet,
    Guarantees,
    InvalidKey,
    LocationError,
    NotSupported,
    StorageFull,
    WriteOutcomeUnknown,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exlab_store import Store

pytestmark = pytest.mark.one_interpreter


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with running_sshd() as found:
        yield found


@pytest.fixture(params=["shell", "alone"])
def port(request: pytest.FixtureRequest, server: SshServer) -> int:
    """With a shell, and with SFTP alone."""
    return server.port if request.param == "shell" else server.bare_port


def open_anew(server: SshServer, folder: Path, port: int, **options: Any) -> Store:
    name = "" if folder == server.root else folder.name
    return open_store(server.url(name, port=port), **{**server.options, **options})


# The server's key


def test_an_unknown_host_key_is_refused_and_the_error_says_what_to_compare(server: SshServer, tmp_path: Path) -> None:
    nobody = tmp_path / "known_hosts"
    nobody.write_text("")
    with pytest.raises(AccessDenied, match="host key is unknown") as caught:
        open_anew(server, server.root, server.port, known_hosts=str(nobody))
    assert _fingerprint(server.directory / "host.pub") in str(caught.value.hint)


def test_a_changed_host_key_is_refused_and_the_error_names_both(server: SshServer, tmp_path: Path) -> None:
    server.make_key(tmp_path / "other")
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {(tmp_path / 'other.pub').read_text()}")
    with pytest.raises(AccessDenied, match="another than the known one") as caught:
        open_anew(server, server.root, server.port, known_hosts=str(known))
    for key in (server.directory / "host.pub", tmp_path / "other.pub"):
        assert _fingerprint(key) in str(caught.value.hint)


def test_a_known_key_of_another_kind_is_a_changed_one(server: SshServer, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(tmp_path / "rsa")], check=True)
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {(tmp_path / 'rsa.pub').read_text()}")
    with pytest.raises(AccessDenied, match="another than the known one"):
        open_anew(server, server.root, server.port, known_hosts=str(known))


def test_the_host_key_may_be_given_itself(server: SshServer, tmp_path: Path) -> None:
    options = {**server.options, "host_key": server.host_key}
    del options["known_hosts"]
    with open_store(server.url(), **options) as store:
        assert store.list_keys("nothing here") == []
    server.make_key(tmp_path / "other")
    with pytest.raises(AccessDenied, match="another than the known one"):
        open_store(server.url(), **{**options, "host_key": (tmp_path / "other.pub").read_text()})


def test_an_ssh_configuration_that_turns_the_check_off_is_not_followed(server: SshServer, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n    StrictHostKeyChecking no\n    UserKnownHostsFile none\n")
    options = {**server.options, "ssh_config": str(config)}
    del options["known_hosts"]
    with pytest.raises(AccessDenied, match="host key is unknown"):
        open_store(server.url(), **options)


def test_the_ssh_configuration_gives_name_port_account_and_key(server: SshServer, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host nas\n    HostName 127.0.0.1\n    Port {server.port}\n    User {server.user}\n"
        f"    IdentityFile {server.directory / 'user'}\n    UserKnownHostsFile {server.directory / 'known_hosts'}\n"
    )
    with open_store(f"sftp://nas{server.root}", ssh_config=str(config), agent=False) as store:
        assert store.guarantees.durable


def _fingerprint(key: Path) -> str:
    said = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], check=True, capture_output=True, text=True).stdout
    return said.split()[1]


# The account


def test_a_wrong_key_is_refused(server: SshServer, tmp_path: Path) -> None:
    server.make_key(tmp_path / "stranger")
    with pytest.raises(AccessDenied, match="no key and no password that it was offered is right") as caught:
        open_anew(server, server.root, server.port, key_file=str(tmp_path / "stranger"), password="made-up-4711")
    assert "made-up-4711" not in repr(caught.value) + str(caught.value) + str(caught.value.hint)


def test_an_encrypted_key_opens_with_its_passphrase_and_not_with_another(server: SshServer) -> None:
    sealed = str(server.directory / "sealed")
    with open_anew(server, server.root, server.port, key_file=sealed, passphrase=PASSPHRASE):
        pass
    for passphrase in (None, "made-up-4712"):
        with pytest.raises(AccessDenied, match="the passphrase is missing or wrong") as caught:
            open_anew(server, server.root, server.port, key_file=sealed, passphrase=passphrase)
        assert "made-up-4712" not in repr(caught.value) + str(caught.value) + str(caught.value.hint)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": "soon"}, "timeout|wrong"),
        ({"mood": 1}, "no option 'mood'"),
        ({"host_key": "nonsense", "known_hosts": None}, "no public key"),
        ({"known_hosts": "/nowhere"}, "no such file"),
        ({"key_file": "/nowhere"}, "no such file"),
        ({"host_key": "ssh-ed25519 AAAA"}, "two answers"),
    ],
)
def test_a_wrong_option_is_refused(server: SshServer, options: dict[str, Any], said: str) -> None:
    with pytest.raises(LocationError, match=said):
        open_anew(server, server.root, server.port, **options)


@pytest.mark.parametrize("option", ["key_file", "known_hosts", "ssh_config"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "missing"])
def test_an_option_that_names_no_file_is_refused_before_anybody_is_reached(
    tmp_path: Path, option: str, kind: str
) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(LocationError, match=f"`{option}`"):
        open_store("sftp://nobody@127.0.0.1:1/lab", timeout=60, **{option: str(path)})


@pytest.mark.parametrize("content", [b"\xff" * 100, b"", b"ssh-ed25519 AAAA"])
def test_a_key_file_with_something_else_in_it_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(LocationError, match="no private key"):
        open_store("sftp://nobody@127.0.0.1:1/lab", key_file=str(tmp_path / "key"))


def test_a_mode_is_refused_as_the_server_chooses(server: SshServer) -> None:
    with pytest.raises(NotSupported, match="mode"):
        open_anew(server, server.root, server.port, mode=0o600)


# Folders and files


def test_a_missing_folder_is_a_location_error_and_create_makes_it(server: SshServer, port: int) -> None:
    location = server.url("not/there", port=port)
    with pytest.raises(LocationError, match="no such folder"):
        open_store(location, **server.options)
    with open_store(location, create=True, **server.options) as store:
        assert store.list_keys() == []
        store.atomic_write("a/b.json", b"1")
        assert store.read_snapshot("a/b.json").data == b"1"
    shutil.rmtree(server.root / "not")


def test_a_file_is_no_store(server: SshServer, port: int) -> None:
    (server.root / "file").write_text("")
    with pytest.raises(LocationError):
        open_store(server.url("file", port=port), **server.options)


def test_a_folder_that_vanishes_is_unavailable_and_never_made_again(server: SshServer, port: int) -> None:
    folder = new_folder(server)
    with open_anew(server, folder, port) as store:
        folder.rmdir()
        for call in (
            lambda: store.read_snapshot("a.json"),
            lambda: store.atomic_write("a/b.json", b"1"),
            lambda: store.list_keys(),
            lambda: store.delete("a.json"),
        ):
            with pytest.raises(BackendUnavailable, match="gone"):
                call()
    assert not folder.exists()


def test_a_document_is_no_folder_and_a_folder_no_document(server: SshServer, port: int) -> None:
    with open_anew(server, new_folder(server), port) as store:
        store.atomic_write("a/b.json", b"1")
        for call in (
            lambda: store.atomic_write("a/b.json/c.json", b"1"),
            lambda: store.atomic_write("a", b"1"),
            lambda: store.read_snapshot("a"),
            lambda: store.delete("a"),
        ):
            with pytest.raises(InvalidKey):
                call()
        assert store.list_keys() == ["a/b.json"]


@pytest.fixture
def small_disk(server: SshServer, needs_root: None) -> Iterator[Path]:
    """A file system of 1 MiB below the server's root."""
    folder = new_folder(server)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=False).returncode:
        lacking("run the tests where file systems may be mounted")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def test_a_full_disk_is_told_and_the_document_stays(server: SshServer, port: int, small_disk: Path) -> None:
    with open_anew(server, small_disk, port) as store:
        store.atomic_write("a.json", b"old")
        with pytest.raises(StorageFull):
            store.atomic_write("a.json", os.urandom(2 << 20))
        assert store.read_snapshot("a.json").data == b"old"
        store.atomic_write("a.json", b"new")
    assert [path.name for path in small_disk.iterdir() if ".tmp." in path.name] == []


def test_a_full_disk_loses_no_lock(server: SshServer, small_disk: Path) -> None:
    with open_anew(server, small_disk, server.port) as store:
        with store.lock("a.json") as held:
            with pytest.raises(StorageFull):
                store.atomic_write("a.json", os.urandom(2 << 20), lock=held)
            store.atomic_write("a.json", b"1", lock=held)
        assert store.read_snapshot("a.json").data == b"1"


def test_a_file_system_in_memory_is_not_durable(server: SshServer, small_disk: Path) -> None:
    with open_anew(server, small_disk, server.port) as store:
        assert not store.guarantees.durable
        assert store.guarantees.fenced


def test_a_read_only_file_system_is_told(server: SshServer, port: int, small_disk: Path) -> None:
    (small_disk / "a.json").write_bytes(b"old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with open_anew(server, small_disk, port) as store:
        for call in (lambda: store.atomic_write("a.json", b"1"), lambda: store.delete("a.json")):
            with pytest.raises(AccessDenied, match=r"(?i)read-only"):
                call()
        assert store.read_snapshot("a.json").data == b"old"


def test_what_sftp_alone_cannot_do_names_the_setting_that_would_give_it(server: SshServer) -> None:
    with open_anew(server, new_folder(server), server.bare_port) as store:
        for call in (lambda: store.lock("a.json"), lambda: store.delete_folder("a")):
            with pytest.raises(NotSupported) as caught:
                call()
            assert "has no shell" in str(caught.value.hint)
            assert "ForceCommand internal-sftp" in str(caught.value.hint)


def test_an_account_with_nologin_for_its_shell_has_sftp_alone(server: SshServer, needs_root: None) -> None:
    account = pwd.getpwnam("daemon")
    assert account.pw_shell.endswith("nologin")
    folder = new_folder(server)
    os.chown(folder, account.pw_uid, account.pw_gid)
    with open_anew(server, folder, server.port, username="daemon") as store:
        assert store.guarantees.lock_scope == "none"
        assert "has no shell" in store.unclaimed["durable"]
        store.atomic_write("a/b.json", b"1")
        store.atomic_write("a/b.json", b"2")
        assert store.read_snapshot("a/b.json").data == b"2"
        assert (folder / "a" / "b.json").stat().st_uid == account.pw_uid
        (folder / "a" / "b.json").chmod(0o600)
        os.chown(folder / "a" / "b.json", 0, 0)
        with pytest.raises(AccessDenied):
            store.read_snapshot("a/b.json")
        folder.chmod(0o555)
        os.chown(folder, 0, 0)
        with pytest.raises(AccessDenied):
            store.atomic_write("c.json", b"1")
        assert [path.name for path in folder.iterdir()] == ["a"]


def test_a_store_that_has_to_be_durable_is_refused_with_the_setting_to_blame(server: SshServer) -> None:
    with pytest.raises(GuaranteeNotMet) as caught:
        open_anew(server, server.root, server.bare_port, require=Guarantees.at_least(durable=True))
    assert "ForceCommand internal-sftp" in str(caught.value)


def test_a_shell_that_is_not_wanted_is_not_used(server: SshServer) -> None:
    with open_anew(server, new_folder(server), server.port, shell=False) as store:
        assert store.guarantees.lock_scope == "none"
        store.atomic_write("a.json", b"1")
        assert server.shell_pids() == []


# The server away


def test_nobody_at_the_port_is_unavailable(server: SshServer) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(BackendUnavailable, match="cannot be reached"):
            open_store(f"sftp://127.0.0.1:{nobody.getsockname()[1]}/", **server.options)


def test_a_server_that_says_nothing_is_given_up_in_time(server: SshServer) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(BackendUnavailable, match="not let this client in"):
            open_store(f"sftp://127.0.0.1:{silent.getsockname()[1]}/", connect_timeout=0.3, **server.options)


def test_a_server_that_is_no_ssh_server_is_unavailable(server: SshServer) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(BackendUnavailable):
            open_store(f"sftp://127.0.0.1:{other.getsockname()[1]}/", connect_timeout=0.3, **server.options)


def test_a_frozen_server_is_given_up_in_time_and_the_store_works_when_it_goes_on(server: SshServer, port: int) -> None:
    with open_anew(server, new_folder(server), port, timeout=4.0) as store:
        store.atomic_write("a.json", b"1")
        with standing_still(*server.connection_pids()), pytest.raises(BackendUnavailable):
            store.read_snapshot("a.json")
        store.atomic_write("a.json", b"2")
        assert store.read_snapshot("a.json").data == b"2"


def test_a_write_to_a_server_that_freezes_has_an_outcome(server: SshServer, port: int) -> None:
    with open_anew(server, new_folder(server), port, timeout=4.0) as store:
        store.atomic_write("a.json", b"1")
        with (
            standing_still(*server.connection_pids()),
            suppress(BackendUnavailable, WriteOutcomeUnknown),  # or over a new connection
        ):
            store.atomic_write("a.json", b"2")
        assert store.read_snapshot("a.json").data in {b"1", b"2"}
        store.atomic_write("a.json", b"3")
        assert store.read_snapshot("a.json").data == b"3"


def test_a_store_goes_on_after_its_server_was_started_again(server: SshServer, port: int) -> None:
    with open_anew(server, new_folder(server), port) as store:
        store.atomic_write("a.json", b"1")
        server.stop()
        with pytest.raises((BackendUnavailable, DocumentNotFound)):
            open_anew(server, server.root, port)
        server.start()
        assert store.read_snapshot("a.json").data == b"1"
        store.atomic_write("a.json", b"2")
        assert store.read_snapshot("a.json").data == b"2"
