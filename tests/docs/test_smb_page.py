"""The page "Run a site on SMB" says what a real server does, and its smb.conf is one."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import nas
import pytest
import samba_server
from conftest import lacking
from exlab_store_smb.session.options import SmbOptions
from samba_server import SambaServer
from smb_logon import logged_on
from smbprotocol.connection import Connection
from smbprotocol.create_contexts import CreateContextName, SMB2CreateContextRequest, SMB2CreateRequestLease
from smbprotocol.open import CreateDisposition, ImpersonationLevel, Open
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect
from wire_proxy import WireProxy

from exlab_store import AccessDenied, LockTimeout, NotSupported, Store, StoreError, open_store, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.one_interpreter

PAGE = nas.PAGE.read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _needs_smbd() -> None:
    if samba_server.find_smbd() is None:
        lacking("install Debian's package samba: its smbd is the server of the SMB tests")


@pytest.fixture
def site() -> Iterator[nas.Nas]:
    with nas.running() as site:
        yield site


@contextmanager
def _server(*, share: dict[str, str] | None = None, **settings: str) -> Iterator[SambaServer]:
    own = {name.replace("_", " "): value for name, value in settings.items()}
    with tempfile.TemporaryDirectory(prefix="exlab-store-docs-") as directory:
        Path(directory).chmod(0o755)
        with SambaServer(Path(directory, "server"), global_settings=own, share_settings=share or {}) as server:
            yield server


def _table(first_cell: str) -> dict[str, list[str]]:
    lines = PAGE.split(f"\n| {first_cell} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


# The server's settings


def test_samba_takes_the_settings_as_they_are_shown(tmp_path: Path) -> None:
    conf = tmp_path / "smb.conf"
    conf.write_text(PAGE.split(":caption: smb.conf\n\n", 1)[1].split("```", 1)[0])
    testparm = shutil.which("testparm")
    assert testparm is not None
    done = subprocess.run([testparm, "-s", str(conf)], capture_output=True, text=True, check=True)
    assert "Loaded services file OK." in done.stderr
    assert not re.search("unknown|ignoring|warning|error|invalid", done.stderr, re.IGNORECASE)


def test_every_setting_has_its_reason() -> None:
    settings = nas.shown_settings()
    reasons = " ".join(_table("Setting"))
    named = [name for name in [*settings["global"], *settings["lab"]] if f"`{name}" in reasons]
    left = {*settings["global"], *settings["lab"]} - set(named)
    # Where the documents are, and what the section about rights is about.
    assert left == {
        "path",
        "read only",
        "valid users",
        "create mask",
        "force create mode",
        "directory mask",
        "force directory mode",
    }


def test_what_is_written_belongs_to_the_group(site: nas.Nas) -> None:
    with open_store(site.server.url(nas.FOLDER), password=site.server.password) as store:
        store.update("a/b.json", lambda _: b"1")
    folder = site.server.root / nas.FOLDER / "a"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2770
    assert stat.S_IMODE((folder / "b.json").stat().st_mode) == 0o660
    assert stat.S_IMODE((folder / "b.json.lock").stat().st_mode) == 0o660


def test_no_client_gets_an_oplock_or_a_lease(site: nas.Nas) -> None:
    server = site.server
    (server.root / "a.json").write_bytes(b"1")
    batch, lease = 9, 0xFF
    assert [_granted(server, level) for level in (batch, lease)] == [0, 0]


def test_as_it_comes_samba_gives_oplocks_and_leases(samba: SambaServer) -> None:
    (samba.root / "a.json").write_bytes(b"1")
    batch, lease = 9, 0xFF
    assert [logged_on(partial(_granted, samba, level)) for level in (batch, lease)] == [batch, lease]


def _granted(server: SambaServer, level: int) -> int:
    connection = Connection(uuid4(), "127.0.0.1", server.port)
    connection.connect()
    try:
        session = Session(connection, server.user, server.password)
        session.connect()
        tree = TreeConnect(session, r"\\127.0.0.1\lab")
        tree.connect()
        request = SMB2CreateContextRequest()
        request["buffer_name"] = CreateContextName.SMB2_CREATE_REQUEST_LEASE
        wish = SMB2CreateRequestLease()
        wish["lease_key"], wish["lease_state"] = uuid4().bytes, 7
        request["buffer_data"] = wish
        message, _ = Open(tree, "a.json").create(
            ImpersonationLevel.Impersonation,
            0x1,
            0,
            7,
            CreateDisposition.FILE_OPEN,
            0,
            create_contexts=[request] if level == 0xFF else None,
            oplock_level=level,
            send=False,
        )
        sent = connection.send(message, session.session_id, tree.tree_connect_id)
        return int(connection.receive(sent, timeout=10)["data"].get_value()[2])
    finally:
        connection.disconnect(timeout=10)


def _lock_is_exclusive(first: Store, second: Store) -> bool:
    with first.lock("k", timeout=10, purpose="first"):
        try:
            second.lock("k", timeout=0.05, purpose="second").release()
        except LockTimeout:
            return True
    return False


def test_clients_and_programs_on_the_server_exclude_each_other(site: nas.Nas) -> None:
    server = site.server
    with (
        open_store(server.url(nas.FOLDER), password=server.password) as smb,
        open_store(server.root / nas.FOLDER) as own,
    ):
        assert _lock_is_exclusive(smb, own)
        assert _lock_is_exclusive(own, smb)


def test_settings_that_the_page_warns_of_do_what_it_says() -> None:
    def exclusive(**share: str) -> tuple[bool, bool] | None:
        with _server(share={name.replace("_", " "): value for name, value in share.items()}) as server:
            options: Any = {"password": server.password}
            # The name of the same server that another machine would use: in one process, threads queue by location.
            other = server.url().replace("127.0.0.1", "localhost")
            with (
                open_store(server.url(), **options) as smb,
                open_store(other, **options) as again,
                open_store(server.root) as own,
            ):
                assert smb.guarantees.durable
                if smb.guarantees.lock_scope == "none":
                    return None
                return _lock_is_exclusive(smb, again), _lock_is_exclusive(smb, own)

    assert exclusive() == (True, True)
    assert exclusive(locking="no") is None  # a client sees it, and claims no locks
    assert exclusive(posix_locking="no") == (True, False)
    assert exclusive(strict_sync="no") == (True, True)  # and it claims to be durable, as nobody can tell


# Options


def test_the_table_of_options_has_every_option_with_its_default() -> None:
    table = _table("Option")
    defaults = {
        name: getattr(SmbOptions(host="nas01"), name) for name in SmbOptions.__struct_fields__ if name != "host"
    }
    words = {None: "none", True: "`True`", "negotiate": "`negotiate`"}
    expected = {
        f"`{name}`": words.get(value, f"{value:g}" if isinstance(value, float) else str(value))
        for name, value in defaults.items()
    }
    expected["`encrypt`"] = "only if the server demands it"
    assert {name: cells[0] for name, cells in table.items()} == expected
    assert msgspec.structs.asdict(SmbOptions(host="nas01"))["encrypt"] is None


# Encryption, guests, passwords


def _outcome(url: str, **options: Any) -> str:
    try:
        with open_store(url, timeout=10, retry=None, **options) as store:
            store.atomic_write("a.json", b"1")
    except StoreError as error:
        return type(error).__name__
    return "works"


def _on_the_wire(server: SambaServer, **options: Any) -> str:
    with WireProxy("127.0.0.1", server.port) as wire:
        url = server.url(port=wire.port)
        try:
            with (
                open_store(url, password=server.password, timeout=10, retry=None, **options) as store,
                wire.counting() as count,
            ):
                store.list_keys()
                store.atomic_write("a.json", b"1")
        except StoreError as error:
            return f"`{type(error).__name__}`"
    sealed = [name.startswith("(encrypted") for _, names in count.log for name in names]
    return "encrypted" if all(sealed) else "signed, writes encrypted" if any(sealed) else "signed"


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ("Samba as it comes", {}),
        ("`server smb encrypt = desired` or `required`", {"server_smb_encrypt": "desired"}),
        ("`server smb encrypt = desired` or `required`", {"server_smb_encrypt": "required"}),
        ("`server smb encrypt = off`, or SMB 2 only", {"server_smb_encrypt": "off"}),
        ("`server smb encrypt = off`, or SMB 2 only", {"server_max_protocol": "SMB2_10"}),
        ("SMB 1 only", {"server_min_protocol": "NT1", "server_max_protocol": "NT1"}),
    ],
)
def test_the_table_of_encryption_is_what_goes_over_the_wire(row: str, settings: dict[str, str]) -> None:
    with _server(**settings) as server:
        assert _table("Server")[row] == [_on_the_wire(server), _on_the_wire(server, encrypt=True)]


def test_who_has_no_account_is_refused_or_is_a_guest_who_must_be_allowed(needs_root: None) -> None:
    refused, unsafe = AccessDenied.__name__, NotSupported.__name__
    with _server(map_to_guest="bad user", share={"guest ok": "yes"}) as server:
        server.root.chmod(0o777)
        url = server.url(user=False)
        stranger = {"username": "stranger", "password": "x"}
        assert _outcome(url) == refused
        assert _outcome(url, require_signing=False) == refused
        assert _outcome(url, username=server.user) == refused
        assert _outcome(url, username=server.user, password="") == refused
        assert _outcome(url, username=server.user, password="wrong") == refused
        assert _outcome(url, **stranger) == unsafe
        assert _outcome(url, **stranger, require_signing=False, encrypt=True) == unsafe
        assert _outcome(url, **stranger, require_signing=False) == "works"
    with _server(map_to_guest="bad password", share={"guest ok": "yes"}) as server:
        assert _outcome(server.url(), password="wrong") == unsafe
        assert _outcome(server.url(), password="") == unsafe


# Rights


def test_rights_come_from_the_folder(samba: SambaServer, needs_root: None) -> None:
    other = samba.add_account("other")
    folder = samba.root / "everybody"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "a.json").write_bytes(b"1")
    (folder / "a.json").chmod(0o600)
    with open_store(samba.url("everybody", user=False), **other) as store:
        store.atomic_write("a.json", b"2")
        assert (folder / "a.json").stat().st_mode & 0o077, "nothing of the old file's mode is left"
        folder.chmod(0o1777)
        (folder / "b.json").write_bytes(b"1")
        with pytest.raises(AccessDenied):
            store.atomic_write("b.json", b"2")
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "b.json"]


def test_a_read_only_share_can_be_read_and_listed(samba: SambaServer) -> None:
    samba.add_share("archive", samba.directory / "archive", read_only="yes")
    (samba.directory / "archive" / "a.json").write_bytes(b"1")
    with open_store(samba.url(share="archive"), password=samba.password) as store:
        assert store.read_snapshot("a.json").data == b"1"
        assert list(store.list_keys()) == ["a.json"]
        attempts: list[Callable[[], object]] = [
            lambda: store.atomic_write("a.json", b"2"),
            lambda: store.lock("a.json"),
            lambda: store.delete("a.json"),
        ]
        for attempt in attempts:
            with pytest.raises(AccessDenied):
                attempt()


# Round trips


def _read_missing(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read_snapshot("a/c.json")


def test_the_table_of_round_trips_is_what_the_wire_says(tmp_path: Path) -> None:
    nearly_full = tmp_path / "dfree"
    nearly_full.write_text("#!/bin/sh\necho 16000 8000\n")  # 8 MB free
    nearly_full.chmod(0o755)
    measured: dict[str, int] = {}

    def measure(server: SambaServer, operations: dict[str, Callable[[Store], object]]) -> None:
        with (
            WireProxy("127.0.0.1", server.port) as wire,
            open_store(server.url(port=wire.port), password=server.password) as store,
        ):
            store.update("a/b.json", lambda _: b"1")
            wire.delay = 0.01  # what is sent together overlaps, however busy the machine is
            for name, operate in operations.items():
                with wire.counting() as count:
                    operate(store)
                measured[name] = count.round_trips

    held: list[Any] = []
    with _server() as server:
        measure(
            server,
            {
                "read": lambda store: store.read_snapshot("a/b.json"),
                "write": lambda store: store.atomic_write("a/b.json", b"2"),
                "lock": lambda store: held.append(store.lock("a/b.json")),
                "release": lambda store: held[0].release(),
                "update": lambda store: store.update("a/b.json", lambda _: b"3"),
                "write with `expect=`": lambda store: store.atomic_write("a/b.json", b"4", expect=version_of(b"3")),
                "read of a document that is missing": _read_missing,
                "update of a document that is missing": lambda store: store.update("a/c.json", lambda _: b"3"),
                "delete": lambda store: store.delete("a/b.json"),
            },
        )
    with _server(server_smb_encrypt="off") as server:
        server.root.joinpath("a").mkdir()
        measure(server, {"write to a server that does not encrypt": lambda store: store.atomic_write("a/b.json", b"2")})
    with _server(share={"dfree command": str(nearly_full)}) as server:
        measure(
            server, {"write to a share that may be nearly full": lambda store: store.atomic_write("a/b.json", b"2")}
        )
    assert {name: int(cells[0]) for name, cells in _table("Operation").items()} == measured
