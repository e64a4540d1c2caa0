"""What goes wrong on an SMB share has an error of its own that says what, where, and what to do next."""

from __future__ import annotations

import errno
import os
import pickle
import socket
import subprocess
import tempfile
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lacking
from waiting import is_once_below

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    InvalidKey,
    LocationError,
    NotSupported,
    StorageFull,
    Store,
    StoreError,
    WriteOutcomeUnknown,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = pytest.mark.one_interpreter

OLD = b'{"stored":"before"}'
WRONG = f"wrong-{os.urandom(8).hex()}"  # not a literal, for tracebacks show the lines of this file too

VERBS: dict[str, Callable[[Store, str], object]] = {
    "read": lambda store, key: store.read_snapshot(key),
    "write": lambda store, key: store.atomic_write(key, b"{}"),
    "lock": lambda store, key: store.lock(key, timeout=1).release(),
    "update": lambda store, key: store.update(key, lambda _: b"{}", timeout=1),
    "delete": lambda store, key: store.delete(key),
}


def refusal(kind: type[StoreError], call: Callable[[], object], *secrets: str) -> Any:
    """The error of a call; it is of this very type, has a hint and a place, and shows no secret in any way."""
    with pytest.raises(kind) as caught:
        call()
    error = caught.value
    assert type(error) is kind
    assert error.hint
    assert error.location
    assert error.location in str(error)
    shown = "".join([*traceback.format_exception(error), repr(error), str(error), str(error.envelope())])
    each: BaseException | None = error
    while each is not None:
        shown += f"{each}{each!r}"
        each = each.__cause__ or each.__context__
    assert not any(secret in shown for secret in secrets), "a password is shown"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    return error


@contextmanager
def opened(server: SambaServer, *folder: str, **how: Any) -> Iterator[Store]:
    """A store; ``share``, ``user`` and ``port`` go into its URL, everything else is an option."""
    of_url = {name: how.pop(name) for name in ("share", "user", "port") if name in how}
    with open_store(server.url(*folder, **of_url), **{"password": server.password, **how}) as store:
        yield store


def open_briefly(server: SambaServer, *folder: str, **how: Any) -> None:
    with opened(server, *folder, **how):
        pass


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


# Who may come in


def test_a_wrong_password_is_refused_and_not_shown(samba: SambaServer) -> None:
    error = refusal(AccessDenied, lambda: open_briefly(samba, password=WRONG), WRONG, samba.password)
    assert error.code == "access_denied"
    assert error.errno == errno.EACCES
    assert "'lab' or its password" in error.message
    assert "password" in error.hint


def test_a_wrong_password_in_the_url_is_refused_and_not_shown(samba: SambaServer) -> None:
    url = samba.url(password=WRONG)
    error = refusal(AccessDenied, lambda: open_store(url).close(), WRONG)
    assert error.location == samba.url(password="***").replace("%2A", "*")


def test_an_unknown_user_is_refused_as_a_wrong_password_is(samba: SambaServer) -> None:
    error = refusal(AccessDenied, lambda: open_briefly(samba, user="somebody"), samba.password)
    assert "'somebody' or its password" in error.message


def test_a_refused_password_is_not_tried_again(samba: SambaServer, wire: WireProxy) -> None:
    # Servers lock an account after a few wrong passwords.
    with pytest.raises(AccessDenied):
        open_briefly(samba, port=wire.port, password="wrong")
    assert wire.accepted == 1


@pytest.mark.parametrize("where", ["in the URL", "as an option"])
def test_an_empty_password_is_a_password_and_refused(samba: SambaServer, where: str) -> None:
    url, options = samba.url(), {"password": ""}
    if where == "in the URL":
        url, options = url.replace("lab@", "lab:@", 1), {}
    refusal(AccessDenied, lambda: open_store(url, **options).close())


def test_an_account_without_a_password_is_refused_where_there_is_no_ticket(samba: SambaServer) -> None:
    error = refusal(AccessDenied, lambda: open_store(samba.url()).close())
    assert "'lab'" in error.message


def test_nobody_is_refused_where_there_is_no_ticket(samba: SambaServer) -> None:
    error = refusal(AccessDenied, lambda: open_store(samba.url(user=False)).close())
    assert "no account is given" in error.message
    assert "username and password" in str(error.hint)


@pytest.fixture
def hospitable(tmp_path: Path) -> Iterator[SambaServer]:
    """A server that takes unknown users for guests, with a share for them."""
    from samba_server import SambaServer, find_smbd

    if find_smbd() is None:
        lacking("install Debian's package samba: its smbd is the server of the SMB tests")
    if os.geteuid() != 0:
        lacking("run the tests as root (sudo): smbd acts as another account for guests")

    with tempfile.TemporaryDirectory(prefix="exlab-store-samba-") as directory:
        Path(directory).chmod(0o755)
        server = SambaServer(Path(directory, "server"), global_settings={"map to guest": "bad user"})
        server.add_share("guests", server.directory / "guests", guest_ok="yes")
        (server.directory / "guests").chmod(0o777)
        server.directory.chmod(0o755)
        with server:
            yield server


def test_a_guest_is_refused_as_its_session_is_not_signed(hospitable: SambaServer) -> None:
    error = refusal(NotSupported, lambda: open_briefly(hospitable, user="visitor", share="guests", password=""))
    assert "guest" in error.message
    assert "require_signing=False" in error.hint


def test_a_guest_may_come_in_where_nobody_asks_for_signatures(hospitable: SambaServer) -> None:
    with opened(hospitable, user="visitor", share="guests", password="", require_signing=False) as store:
        store.atomic_write("a.json", OLD)
        assert store.read_snapshot("a.json").data == OLD
        store.lock("a.json").release()


def test_a_guest_is_refused_where_encryption_is_asked_for(hospitable: SambaServer) -> None:
    how: dict[str, Any] = {"user": "visitor", "share": "guests", "password": ""}
    error = refusal(NotSupported, lambda: open_briefly(hospitable, **how, encrypt=True, require_signing=False))
    assert "encrypt" in error.message


def test_a_guest_may_not_use_a_share_that_is_not_for_guests(hospitable: SambaServer) -> None:
    how: dict[str, Any] = {"user": "visitor", "password": "", "require_signing": False}
    error = refusal(AccessDenied, lambda: open_briefly(hospitable, **how))
    assert "'lab'" in error.message


def test_a_wrong_password_does_not_make_a_guest(hospitable: SambaServer) -> None:
    how: dict[str, Any] = {"share": "guests", "password": "wrong", "require_signing": False}
    refusal(AccessDenied, lambda: open_briefly(hospitable, **how))


def test_an_account_is_signed_on_a_server_that_takes_guests(hospitable: SambaServer) -> None:
    open_briefly(hospitable)


def test_encryption_that_the_server_does_not_offer_is_an_error(tmp_path: Path) -> None:
    from samba_server import SambaServer, find_smbd

    if find_smbd() is None:
        lacking("install Debian's package samba: its smbd is the server of the SMB tests")
    with SambaServer(tmp_path / "server", global_settings={"server smb encrypt": "off"}) as plain:
        error = refusal(NotSupported, lambda: open_briefly(plain, encrypt=True), plain.password)
        assert "encrypt" in error.message
        open_briefly(plain)  # and it was a matter of encryption only


def test_a_share_that_demands_encryption_gets_it_unasked(samba: SambaServer) -> None:
    samba.add_share("sealed", samba.directory / "sealed", server_smb_encrypt="required")
    with opened(samba, share="sealed") as store:
        store.atomic_write("a.json", OLD)
        assert store.read_snapshot("a.json").data == OLD


# Where to


def test_a_share_that_is_not_there_is_named(samba: SambaServer) -> None:
    error = refusal(LocationError, lambda: open_briefly(samba, share="elsewhere"), samba.password)
    assert error.code == "invalid_location"
    assert "'elsewhere'" in error.message
    assert "spelt" in error.hint


def test_a_folder_that_is_not_there_is_refused_and_not_made(samba: SambaServer) -> None:
    error = refusal(LocationError, lambda: open_briefly(samba, "deep", "folder"), samba.password)
    assert "no such folder" in error.message
    assert error.location.endswith("/lab/deep/folder")
    assert os.listdir(samba.root) == []


def test_a_location_that_is_a_document_is_refused(samba: SambaServer) -> None:
    (samba.root / "a.json").write_bytes(OLD)
    error = refusal(LocationError, lambda: open_briefly(samba, "a.json"), samba.password)
    assert "not a folder" in error.message


def test_with_create_the_first_write_makes_the_folder(samba: SambaServer) -> None:
    with opened(samba, "deep", "folder", create=True) as store:
        assert os.listdir(samba.root) == []
        store.atomic_write("a.json", OLD)
    assert contents(samba.root) == {"deep/folder/a.json": OLD}


def test_with_create_a_folder_that_is_missing_is_an_empty_store(samba: SambaServer) -> None:
    with opened(samba, "deep", "folder", create=True) as store:
        assert list(store.list_keys()) == []
        with pytest.raises(DocumentNotFound):
            store.read_snapshot("a.json")
        with pytest.raises(DocumentNotFound):
            store.delete("a.json")
    assert os.listdir(samba.root) == []


def test_with_create_the_first_lock_makes_the_folder(samba: SambaServer) -> None:
    with opened(samba, "deep", "folder", create=True) as store:
        store.lock("a.json").release()
    assert os.listdir(samba.root / "deep" / "folder") == ["a.json.lock"]


@pytest.mark.parametrize("verb", ["read", "write", "lock", "update", "delete"])
def test_a_folder_that_goes_away_later_is_unavailable_and_not_made_again(samba: SambaServer, verb: str) -> None:
    (samba.root / "folder").mkdir()
    with opened(samba, "folder", timeout=2.0) as store:
        (samba.root / "folder").rmdir()
        error = refusal(BackendUnavailable, lambda: VERBS[verb](store, "a.json"), samba.password)
    assert "gone" in error.message
    assert os.listdir(samba.root) == []


def test_listing_a_folder_that_has_gone_away_is_not_an_empty_list(samba: SambaServer) -> None:
    (samba.root / "folder").mkdir()
    with opened(samba, "folder", timeout=2.0) as store:
        (samba.root / "folder").rmdir()
        refusal(BackendUnavailable, lambda: list(store.list_keys()), samba.password)


def test_a_server_that_is_not_there_is_unavailable_at_once(samba: SambaServer) -> None:
    samba.stop()
    began = time.monotonic()
    error = refusal(BackendUnavailable, lambda: open_briefly(samba), samba.password)
    assert error.code == "backend_unavailable"
    assert f"127.0.0.1:{samba.port}" in error.message
    assert "port" in error.hint
    assert time.monotonic() - began < 10.0


def test_a_server_whose_name_is_not_known_is_unavailable() -> None:
    error = refusal(BackendUnavailable, lambda: open_store(f"smb://lab:{WRONG}@nas.invalid/lab").close(), WRONG)
    assert "nas.invalid:445" in error.message


@contextmanager
def something_else(says: bytes, *, then: str) -> Iterator[int]:
    """A port on which something listens that is no SMB server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connections.append(connection)
                if says:
                    connection.recv(4096)
                    connection.sendall(says)
                if then == "close":
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for connection in connections:
                connection.close()


@pytest.mark.parametrize(
    ("says", "then"),
    [
        pytest.param(b"", "stay", id="nothing"),
        pytest.param(b"", "close", id="goodbye"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "close", id="HTTP"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "stay", id="HTTP that stays"),
        pytest.param(b"\0\0\0\x20" + b"\xffSMB" + b"\0" * 28, "stay", id="SMB 1"),
        pytest.param(b"\0\0\0\x40" + b"\xfeSMB" + b"\0" * 60, "stay", id="half an answer"),
        pytest.param(b"\0\0\0\x04junk", "stay", id="junk"),
    ],
)
def test_what_is_no_smb_server_is_unavailable_within_the_time(says: bytes, then: str) -> None:
    with something_else(says, then=then) as port:
        url = f"smb://lab:{WRONG}@127.0.0.1:{port}/lab"

        def measure() -> float:
            began = time.monotonic()
            opening = lambda: open_store(url, timeout=2.0, connect_timeout=0.5).close()  # noqa: E731
            assert f"127.0.0.1:{port}" in refusal(BackendUnavailable, opening, WRONG).message
            return time.monotonic() - began

        assert is_once_below(3.0, measure)


def test_a_store_goes_on_when_its_server_was_stopped_and_started_again(samba: SambaServer) -> None:
    with opened(samba) as store:
        store.atomic_write("a.json", OLD)
        samba.restart()
        assert store.read_snapshot("a.json").data == OLD
        samba.restart()
        store.atomic_write("a.json", b"new")
        samba.restart()
        assert list(store.list_keys()) == ["a.json"]
        samba.restart()
        store.lock("a.json").release()
        samba.restart()
        store.update("a.json", lambda data: (data or b"") + b"er")
        samba.restart()
        store.delete("a.json")
    assert contents(samba.root) == {}


@pytest.mark.parametrize("verb", [*VERBS, "list"])
def test_while_the_server_is_stopped_everything_is_unavailable_within_the_time(samba: SambaServer, verb: str) -> None:
    with opened(samba, timeout=2.0, connect_timeout=5.0) as store:
        store.atomic_write("a.json", OLD)
        samba.stop()
        began = time.monotonic()
        call: Callable[[], object] = (
            (lambda: list(store.list_keys())) if verb == "list" else lambda: VERBS[verb](store, "a.json")
        )
        refusal(BackendUnavailable, call, samba.password)
        assert time.monotonic() - began < 6.0
        samba.start()
        assert store.read_snapshot("a.json").data == OLD


# What may be done there


@pytest.fixture
def read_only(samba: SambaServer) -> Store:
    samba.add_share("fixed", samba.directory / "fixed", read_only="yes")
    (samba.directory / "fixed" / "a.json").write_bytes(OLD)
    return open_store(samba.url(share="fixed"), password=samba.password)


def test_a_read_only_share_can_be_read_and_listed(read_only: Store) -> None:
    with read_only as store:
        assert store.read_snapshot("a.json").data == OLD
        assert list(store.list_keys()) == ["a.json"]


@pytest.mark.parametrize("verb", ["write", "lock", "update", "delete"])
@pytest.mark.parametrize("key", ["a.json", "new.json", "new/folder/a.json"])
def test_a_read_only_share_refuses_to_be_changed_at_once(
    samba: SambaServer, read_only: Store, verb: str, key: str
) -> None:
    with read_only as store:
        if verb == "delete" and key != "a.json":
            refusal(DocumentNotFound, lambda: store.delete(key), samba.password)
            return
        began = time.monotonic()
        error = refusal(AccessDenied, lambda: VERBS[verb](store, key), samba.password)
        assert time.monotonic() - began < 5.0
    assert error.key == key
    assert error.errno == errno.EACCES
    assert "read-only" in error.hint
    assert contents(samba.directory / "fixed") == {"a.json": OLD}


@pytest.fixture
def visitor(samba: SambaServer, needs_root: None) -> Iterator[Store]:
    """A store of a second account, which may read what `lab` has, and not write."""
    (samba.root / "a.json").write_bytes(OLD)
    with open_store(samba.url(user=False), **samba.add_account("visitor")) as store:
        yield store


def test_an_account_that_may_only_read_can_read_and_list(visitor: Store) -> None:
    assert visitor.read_snapshot("a.json").data == OLD
    assert list(visitor.list_keys()) == ["a.json"]


@pytest.mark.parametrize("verb", ["write", "lock", "update", "delete"])
def test_an_account_that_may_only_read_is_refused_at_once(samba: SambaServer, visitor: Store, verb: str) -> None:
    began = time.monotonic()
    error = refusal(AccessDenied, lambda: VERBS[verb](visitor, "a.json"), samba.password)
    assert time.monotonic() - began < 5.0
    assert error.key == "a.json"
    assert contents(samba.root) == {"a.json": OLD}


def test_a_document_that_may_not_be_read_is_not_a_missing_one(samba: SambaServer, visitor: Store) -> None:
    (samba.root / "a.json").chmod(0o600)
    error = refusal(AccessDenied, lambda: visitor.read_snapshot("a.json"), samba.password)
    assert "read the document" in error.message


def test_a_folder_that_may_not_be_entered_is_refused(samba: SambaServer, visitor: Store) -> None:
    (samba.root / "private").mkdir(mode=0o700)
    (samba.root / "private" / "b.json").write_bytes(OLD)
    refusal(AccessDenied, lambda: visitor.read_snapshot("private/b.json"), samba.password)


def test_listing_a_folder_that_may_not_be_entered_is_refused(samba: SambaServer, visitor: Store) -> None:
    (samba.root / "private").mkdir(mode=0o700)
    refusal(AccessDenied, lambda: list(visitor.list_keys("private")), samba.password)


def test_a_lock_of_another_account_that_may_not_be_opened_is_refused(samba: SambaServer, visitor: Store) -> None:
    samba.root.chmod(0o777)
    (samba.root / "a.json.lock").touch(0o600)
    error = refusal(AccessDenied, lambda: visitor.lock("a.json", timeout=1), samba.password)
    assert "lock the document" in error.message


def test_an_account_may_replace_the_document_of_another_where_the_folder_is_common(
    samba: SambaServer, visitor: Store
) -> None:
    samba.root.chmod(0o777)
    visitor.atomic_write("a.json", b"theirs")
    assert contents(samba.root) == {"a.json": b"theirs"}


def test_in_a_folder_with_a_sticky_bit_the_document_of_another_stays(samba: SambaServer, visitor: Store) -> None:
    samba.root.chmod(0o1777)
    began = time.monotonic()
    error = refusal(AccessDenied, lambda: visitor.atomic_write("a.json", b"theirs"), samba.password)
    assert time.monotonic() - began < 5.0, "a refusal is not a document that somebody has open"
    assert error.key == "a.json"
    assert contents(samba.root) == {"a.json": OLD}


def test_an_account_that_may_not_use_the_share_is_told_so(samba: SambaServer, needs_root: None) -> None:
    account = samba.add_account("visitor")
    samba.add_share("closed", samba.directory / "closed", valid_users=samba.user)
    url = samba.url(user=False, share="closed")
    error = refusal(AccessDenied, lambda: open_store(url, **account).close(), account["password"])
    assert "'visitor'" in error.message
    assert "'closed'" in error.message


# Names


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "lock"])
def test_a_folder_in_the_place_of_a_document_is_an_invalid_key(samba: SambaServer, verb: str) -> None:
    (samba.root / "folder").mkdir()
    (samba.root / "folder" / "a.json").write_bytes(OLD)
    with opened(samba) as store:
        error = refusal(InvalidKey, lambda: VERBS[verb](store, "folder"), samba.password)
    assert error.code == "invalid_key"
    assert error.key == "folder"
    assert "folder" in error.hint
    assert contents(samba.root) == {"folder/a.json": OLD}


@pytest.mark.parametrize("verb", ["write", "lock", "update"])
def test_a_document_in_the_place_of_a_folder_is_an_invalid_key(samba: SambaServer, verb: str) -> None:
    (samba.root / "a.json").write_bytes(OLD)
    with opened(samba) as store:
        error = refusal(InvalidKey, lambda: VERBS[verb](store, "a.json/deeper.json"), samba.password)
    assert "folder" in error.hint
    assert contents(samba.root) == {"a.json": OLD}


@pytest.mark.parametrize("verb", ["read", "delete"])
def test_below_a_document_there_is_no_document(samba: SambaServer, verb: str) -> None:
    (samba.root / "a.json").write_bytes(OLD)
    with opened(samba) as store:
        refusal(DocumentNotFound, lambda: VERBS[verb](store, "a.json/deeper.json"), samba.password)


@pytest.mark.parametrize("verb", ["write", "lock", "update"])
def test_a_name_that_the_server_refuses_is_an_invalid_key(samba: SambaServer, verb: str) -> None:
    # Some NAS keep names for themselves, and Samba's administrators can.
    samba.add_share("picky", samba.directory / "picky", veto_files="/*.json*/")
    with opened(samba, share="picky") as store:
        error = refusal(InvalidKey, lambda: VERBS[verb](store, "a.json"), samba.password)
    assert error.key == "a.json"
    assert contents(samba.directory / "picky") == {}


def test_a_name_that_is_too_long_where_the_share_is_is_an_invalid_key(samba: SambaServer) -> None:
    # A path on Linux has less than 4,096 bytes, and the share's own folder takes some.
    folder = samba.directory
    at = os.open(folder, os.O_DIRECTORY)
    for _ in range(16):
        os.mkdir("x" * 250, dir_fd=at)
        at, before = os.open("x" * 250, os.O_DIRECTORY, dir_fd=at), at
        os.close(before)
    os.close(at)
    deep = "/".join(["x" * 250] * 14)
    samba.add_share("deep", folder)
    key = "/".join(["y" * 200] * 5)
    with open_store(samba.url(*deep.split("/"), share="deep"), password=samba.password) as store:
        error = refusal(InvalidKey, lambda: store.atomic_write(key, b"{}"), samba.password)
    assert error.key == key


def test_a_folder_in_the_place_of_a_lock_is_refused(samba: SambaServer) -> None:
    (samba.root / "a.json.lock").mkdir()
    with opened(samba) as store:
        error = refusal(AccessDenied, lambda: store.lock("a.json", timeout=1), samba.password)
    assert "lock" in error.hint


def test_a_link_that_leaves_the_share_is_no_document(samba: SambaServer, tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_bytes(OLD)
    (samba.root / "a.json").symlink_to(tmp_path / "outside.json")
    with opened(samba) as store:
        refusal(DocumentNotFound, lambda: store.read_snapshot("a.json"), samba.password)


def test_a_write_does_not_follow_a_link_out_of_the_share(samba: SambaServer, tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_bytes(OLD)
    (samba.root / "a.json").symlink_to(tmp_path / "outside.json")
    with opened(samba, timeout=2.0) as store, pytest.raises(StoreError):
        store.atomic_write("a.json", b"new")
    assert (tmp_path / "outside.json").read_bytes() == OLD
    assert os.listdir(samba.root) == ["a.json"]


# Full shares


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0777,{options}", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # clients of the server stand in it


def fill(folder: Path) -> None:
    """Leaves not one free page."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC


@pytest.fixture
def volume(samba: SambaServer, needs_root: None) -> Path:
    """Where a file system is to be mounted that is exported as the share `volume`."""
    samba.add_share("volume", samba.directory / "volume")
    return samba.directory / "volume"


SIZES = [
    pytest.param(100_000, id="100 kB"),
    pytest.param(1 << 20, id="1 MiB"),
    pytest.param(5 << 20, id="5 MiB"),
]


def assert_full(samba: SambaServer, volume: Path, store: Store, size: int) -> None:
    """A write is refused, the document is as it was, nothing is left behind, and the lock can be taken."""
    before = {name: data for name, data in contents(volume).items() if not name.startswith("filler")}
    error = refusal(StorageFull, lambda: store.atomic_write("a.json", b"n" * size), samba.password)
    assert error.code == "storage_full"
    assert error.key == "a.json"
    assert error.errno in {errno.ENOSPC, errno.EDQUOT}
    assert {name: data for name, data in contents(volume).items() if not name.startswith("filler")} == before


@pytest.mark.parametrize("size", SIZES)
def test_on_a_full_share_the_old_document_stays_and_nothing_is_left(
    samba: SambaServer, volume: Path, size: int
) -> None:
    with mounted(volume, "size=8m"):
        (volume / "a.json").write_bytes(OLD)
        fill(volume)
        with opened(samba, share="volume") as store:
            assert_full(samba, volume, store, size)
            assert store.read_snapshot("a.json").data == OLD


@pytest.mark.parametrize("size", SIZES)
def test_on_a_share_that_fills_up_after_it_was_opened_the_old_document_stays(
    samba: SambaServer, volume: Path, size: int
) -> None:
    with mounted(volume, "size=64m"), opened(samba, share="volume") as store:
        store.atomic_write("a.json", OLD * 5000)
        fill(volume)
        assert_full(samba, volume, store, size)
        assert store.read_snapshot("a.json").data == OLD * 5000


def test_on_a_share_with_room_for_a_part_of_the_document_the_old_one_stays(samba: SambaServer, volume: Path) -> None:
    with mounted(volume, "size=2m"), opened(samba, share="volume") as store:
        store.atomic_write("a.json", OLD)
        assert_full(samba, volume, store, 3 << 20)


@pytest.mark.parametrize("size", SIZES)
def test_on_a_share_whose_room_vanishes_at_once_the_old_document_stays(
    samba: SambaServer, volume: Path, size: int
) -> None:
    # As when a quota is lowered, a snapshot is taken, or another program reserves what is free.
    with mounted(volume, "size=1g"), opened(samba, share="volume", one_round_trip=False) as store:
        (volume / "filler").write_bytes(b"f" * (1 << 20))
        store.atomic_write("a.json", OLD * 5000)
        free = os.statvfs(volume)
        used = (free.f_blocks - free.f_bfree) * free.f_frsize
        subprocess.run(["mount", "-o", f"remount,size={used}", str(volume)], check=True)
        assert_full(samba, volume, store, size)


@pytest.mark.parametrize("size", SIZES)
def test_on_a_share_with_a_quota_that_its_free_room_does_not_show_the_old_document_stays(
    samba: SambaServer, volume: Path, tmp_path: Path, size: int
) -> None:
    # As with the quotas of btrfs, and with some NAS. The server says that a terabyte is free.
    told = samba.directory / "told"
    told.write_text("#!/bin/sh\necho 1000000000 1000000000\n")
    told.chmod(0o755)
    samba.add_share("volume", volume, dfree_command=str(told), dfree_cache_time="0")
    with mounted(volume, "size=2m"), opened(samba, share="volume", one_round_trip=False) as store:
        store.atomic_write("a.json", OLD * 5000)
        fill(volume)
        assert_full(samba, volume, store, size)


def test_a_quota_that_does_not_show_is_noticed_by_the_first_write_it_refuses(samba: SambaServer, volume: Path) -> None:
    told = samba.directory / "told"
    told.write_text("#!/bin/sh\necho 1000000000 1000000000\n")
    told.chmod(0o755)
    samba.add_share("volume", volume, dfree_command=str(told), dfree_cache_time="0")
    with mounted(volume, "size=2m"), opened(samba, share="volume") as store:
        store.atomic_write("a.json", OLD)
        store.atomic_write("b.json", OLD)
        fill(volume)
        with pytest.raises(WriteOutcomeUnknown) as caught:  # the server has replaced it all the same
            store.atomic_write("a.json", OLD * 5000)
        assert "not whole" in str(caught.value)
        with pytest.raises(StorageFull):
            store.atomic_write("b.json", OLD * 5000)
        assert store.read_snapshot("b.json").data == OLD


def test_on_a_full_share_a_lock_can_be_taken_where_there_was_one_before(samba: SambaServer, volume: Path) -> None:
    with mounted(volume, "size=2m"), opened(samba, share="volume") as store:
        store.lock("a.json").release()
        fill(volume)
        with store.lock("a.json", timeout=20) as held:
            held.ensure_held()


def test_on_a_full_share_a_first_lock_can_be_taken(samba: SambaServer, volume: Path) -> None:
    # A lock file is made with no block of its own.
    with mounted(volume, "size=2m"), opened(samba, share="volume") as store:
        fill(volume)
        with store.lock("a.json", timeout=20) as held:
            held.ensure_held()


def test_on_a_full_share_documents_can_be_deleted_and_then_written(samba: SambaServer, volume: Path) -> None:
    with mounted(volume, "size=8m"), opened(samba, share="volume") as store:
        store.atomic_write("b.json", b"b" * (2 << 20))
        fill(volume)
        assert_full(samba, volume, store, 1 << 20)
        store.delete("b.json")
        store.atomic_write("a.json", b"n" * (1 << 20))
        assert store.read_snapshot("a.json").data == b"n" * (1 << 20)


def test_on_a_share_without_a_free_inode_nothing_changes(samba: SambaServer, volume: Path) -> None:
    with mounted(volume, "size=8m,nr_inodes=20"), opened(samba, share="volume") as store:
        store.atomic_write("a.json", OLD)
        with suppress(OSError):
            for number in range(20):
                (volume / f"filler-{number}").touch()
        assert_full(samba, volume, store, 100)


def test_a_document_that_fits_is_written_to_a_share_with_little_room(samba: SambaServer, volume: Path) -> None:
    with mounted(volume, "size=2m"), opened(samba, share="volume") as store:
        for number in range(5):
            store.atomic_write("a.json", str(number).encode() * 500_000)
        assert contents(volume) == {"a.json": b"4" * 500_000}
