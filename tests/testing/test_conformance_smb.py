"""The conformance kit over the SMB backend, on a real Samba server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from conftest import lacking
from exlab_store_smb import SmbBackend, open_backend
from files_harness import FilesHarness
from shared_samba import BOTH, running_server
from traced_lines import whole_calls
from waiting import is_once_below

from exlab_store import Guarantees, Location, Store, lock_key, open_store
from exlab_store.testing import BackendConformance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter


@pytest.fixture(scope="module", params=BOTH)
def server(request: pytest.FixtureRequest) -> Iterator[SambaServer]:
    """One server for all of this module; each test has a folder of its own on it."""
    with running_server(request.param) as found:
        yield found


class SmbHarness(FilesHarness):
    # The kit's strace would watch the client, which does not touch the files: there is no `local_root`. What smbd
    # does with them is watched below.

    def __init__(self, server: SambaServer, **options: object) -> None:
        folder = uuid.uuid4().hex
        self.root = server.root / folder
        self.root.mkdir()
        self.location = server.url(folder)
        self.options = {"password": server.password, **options}
        self.secrets = [server.password]
        self._server = server

    def open(self) -> SmbBackend:
        assert self.location is not None
        return open_backend(Location.parse(self.location), self.options)

    def cut(self) -> None:
        for pid in self._server.client_pids():
            self._server.kill_client(pid)

    def break_lock(self, key: str) -> None:
        (holder,) = self._server.holder_pids(self.root / lock_key(key), locked=True)
        self._server.kill_client(holder)


class TestSmb(BackendConformance):
    @pytest.fixture
    def harness(self, server: SambaServer) -> SmbHarness:
        return SmbHarness(server)


@pytest.mark.slow
class TestSmbEncrypted(BackendConformance):
    @pytest.fixture
    def harness(self, server: SambaServer) -> SmbHarness:
        return SmbHarness(server, encrypt=True)


class DfsHarness(SmbHarness):
    """The same folder, reached through a link of a namespace."""

    def __init__(self, server: SambaServer) -> None:
        super().__init__(server)
        namespace = server.directory / "namespace"
        server.add_share("namespace", namespace, msdfs_root="yes")
        if not (namespace / "link").is_symlink():
            (namespace / "link").symlink_to(rf"msdfs:127.0.0.1\{server.share}")
        self.location = server.url("link", self.root.name, share="namespace")


@pytest.mark.slow
class TestSmbThroughDfs(BackendConformance):
    @pytest.fixture
    def harness(self, server: SambaServer) -> DfsHarness:
        return DfsHarness(server)


@pytest.fixture
def folder(server: SambaServer) -> SmbHarness:
    return SmbHarness(server)


@pytest.mark.parametrize("encrypt", [None, True])
def test_a_server_with_good_settings_gives_every_guarantee(server: SambaServer, encrypt: bool | None) -> None:
    with open_store(server.url(), password=server.password, encrypt=encrypt) as store:
        assert store.guarantees == Guarantees(
            atomic_replace=True,
            durable=True,
            conditional_write="locked",
            lock_scope="site",
            lock_release="crash",
            fenced=True,
            lists=True,
            deletes=True,
            fresh="always",
            watch="pushed",
        )


# Durability, as the system calls of the server show it


class Call(NamedTuple):
    """A system call that has succeeded, when it had returned. Names are whole paths."""

    name: str
    path: str
    to: str = ""

    @property
    def is_of_a_lock(self) -> bool:
        return self.path.endswith(".lock")


class Trace:
    """What smbd does from now on. `until` is asked for once."""

    _CALL = re.compile(r"(?:\d+ +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
    _AT = re.compile(r'(?:AT_FDCWD|\d+)<(?P<folder>[^>]*)>, "(?P<name>(?:[^"\\]|\\.)*)"')
    _FILE = re.compile(r"\d+<(?P<path>[^>]*)>")
    _TRACED = "pwrite64,write,unlinkat,fsync,fdatasync,sync,syncfs,renameat,renameat2,rename,mkdirat,mkdir,openat,"
    _ANSWERS = ("sendmsg", "writev", "sendto")

    def __init__(self, log: Path, process: subprocess.Popen[str], marker: Callable[[], None]) -> None:
        self._log = log
        self._process = process
        self._marker = marker

    @classmethod
    @contextmanager
    def of(cls, server: SambaServer, log: Path, marker: Callable[[], None]) -> Iterator[Trace]:
        strace = shutil.which("strace")
        if strace is None:
            lacking("install strace to watch the system calls of the server: apt-get install strace")
            raise AssertionError
        main = int(next((server.directory / "pid").glob("smbd*.pid")).read_text())
        process = subprocess.Popen(
            [
                strace, "-f", "-y", "-s", "400", "-o", str(log),
                "-e", f"trace={cls._TRACED}{','.join(cls._ANSWERS)}",
                *(word for pid in [main, *server.client_pids()] for word in ("-p", str(pid))),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            if "attached" not in said:
                lacking(f"strace may not trace here: {said}")
            for _ in server.client_pids():
                process.stderr.readline()
            yield cls(log, process, marker)
        finally:
            process.terminate()
            process.wait(10)
            process.stderr.close()

    def calls_before_the_answer(self) -> list[Call]:
        """What was done until the last answer that the client was sent before this is called."""
        self._marker()
        self._process.terminate()
        self._process.wait(10)
        lines = self._log.read_text(errors="surrogateescape").splitlines()
        calls = [call for line in whole_calls(lines) if (call := self._call(line)) is not None]
        end = next(place for place, call in enumerate(calls) if call.name == "openat" and "marker" in call.path)
        answered = max(place for place, call in enumerate(calls[:end]) if call.name == "answer")
        return calls[:answered]

    def _call(self, line: str) -> Call | None:
        found = self._CALL.match(line)
        if found is None or int(found["result"]) < 0:
            return None
        name, arguments = found["name"], found["arguments"]
        if name in self._ANSWERS:
            return Call("answer", "")
        names = [os.path.normpath(os.path.join(each["folder"], each["name"])) for each in self._AT.finditer(arguments)]
        if name.startswith("rename"):
            return Call("rename", names[0], names[1])
        if name.startswith("unlink"):
            return Call("unlink", names[0])
        if name.startswith("mkdir"):
            return Call("mkdir", names[0])
        if name == "openat":
            return Call("create" if "O_CREAT" in arguments else "openat", names[0])
        file = self._FILE.match(arguments)
        assert file is not None
        return Call({"pwrite64": "write", "fdatasync": "fsync"}.get(name, name), file["path"])


@contextmanager
def watched(server: SambaServer, folder: SmbHarness, log: Path, *before: str) -> Iterator[tuple[Store, Trace]]:
    """A store, and what the server does from now on; ``before`` are documents that it has written already."""
    with open_store(str(folder.location), **folder.options) as store:
        store.atomic_write("marker.json", b"{}")
        for key in before:
            store.atomic_write(key, b"before")
        with Trace.of(server, log, lambda: void(store.read_snapshot("marker.json"))) as trace:
            yield store, trace


def void(_: object) -> None:
    pass


def place(calls: list[Call], name: str, path: Path | str, *, after: int = -1) -> int:
    """Where a call is; the test fails with the trace if it is not there."""
    for number, call in enumerate(calls):
        if number > after and call.name == name and call.path == str(path):
            return number
    raise AssertionError(f"no {name} of {path} after {after} in {[*enumerate(calls)]}")


def made_at(calls: list[Call], path: Path) -> int:
    """Where a folder got its name: Samba since 4.21 makes it under another and renames it."""
    for number, call in enumerate(calls):
        if (call.name == "mkdir" and call.path == str(path)) or (call.name == "rename" and call.to == str(path)):
            return number
    raise AssertionError(f"{path} was not made in {[*enumerate(calls)]}")


def renamed_to(calls: list[Call], path: Path) -> int:
    (found,) = [number for number, call in enumerate(calls) if call.name == "rename" and call.to == str(path)]
    return found


SIZES = [pytest.param(2, id="small"), pytest.param(3 << 20, id="3 MiB")]


@pytest.mark.parametrize("size", SIZES)
def test_the_file_is_flushed_after_its_last_write_and_before_it_gets_its_name(
    server: SambaServer, folder: SmbHarness, tmp_path: Path, size: int
) -> None:
    with watched(server, folder, tmp_path / "strace", "a.json") as (store, trace):
        store.atomic_write("a.json", b"1" * size)
        calls = trace.calls_before_the_answer()
    renamed = renamed_to(calls, folder.root / "a.json")
    temporary = calls[renamed].path
    written = max(number for number, call in enumerate(calls) if (call.name, call.path) == ("write", temporary))
    assert written < place(calls, "fsync", temporary, after=written) < renamed


@pytest.mark.parametrize("size", SIZES)
def test_the_folder_is_flushed_after_the_rename_and_before_the_client_is_answered(
    server: SambaServer, folder: SmbHarness, tmp_path: Path, size: int
) -> None:
    with watched(server, folder, tmp_path / "strace", "a.json") as (store, trace):
        store.atomic_write("a.json", b"1" * size)
        calls = trace.calls_before_the_answer()
    assert place(calls, "fsync", folder.root, after=renamed_to(calls, folder.root / "a.json"))


def test_new_folders_are_flushed_up_to_the_first_that_was_there(
    server: SambaServer, folder: SmbHarness, tmp_path: Path
) -> None:
    with watched(server, folder, tmp_path / "strace") as (store, trace):
        store.atomic_write("new/deeper/a.json", b"1")
        calls = trace.calls_before_the_answer()
    new = folder.root / "new"
    for made in (new, new / "deeper"):
        place(calls, "fsync", made.parent, after=made_at(calls, made))
    place(calls, "fsync", new / "deeper", after=renamed_to(calls, new / "deeper" / "a.json"))


def test_folders_that_another_program_has_made_are_flushed_with_the_first_document(
    server: SambaServer, folder: SmbHarness, tmp_path: Path
) -> None:
    (folder.root / "others" / "deeper").mkdir(parents=True)
    with watched(server, folder, tmp_path / "strace") as (store, trace):
        store.atomic_write("others/deeper/a.json", b"1")
        calls = trace.calls_before_the_answer()
    for flushed in (folder.root, folder.root / "others", folder.root / "others" / "deeper"):
        place(calls, "fsync", flushed)


def test_new_folders_that_the_lock_has_made_are_flushed(
    server: SambaServer, folder: SmbHarness, tmp_path: Path
) -> None:
    with watched(server, folder, tmp_path / "strace") as (store, trace):
        store.update("new/deeper/a.json", lambda _: b"1")
        calls = trace.calls_before_the_answer()
    new = folder.root / "new"
    for made in (new, new / "deeper"):
        place(calls, "fsync", made.parent, after=made_at(calls, made))
    place(calls, "fsync", new / "deeper", after=renamed_to(calls, new / "deeper" / "a.json"))


def test_the_folder_of_a_deleted_document_is_flushed(server: SambaServer, folder: SmbHarness, tmp_path: Path) -> None:
    with watched(server, folder, tmp_path / "strace", "a.json") as (store, trace):
        store.delete("a.json")
        calls = trace.calls_before_the_answer()
    # It loses its name first, and goes then.
    gone = next(call.to for call in calls if (call.name, call.path) == ("rename", str(folder.root / "a.json")))
    place(calls, "fsync", folder.root, after=place(calls, "unlink", gone))


def test_a_lock_flushes_nothing(server: SambaServer, folder: SmbHarness, tmp_path: Path) -> None:
    with watched(server, folder, tmp_path / "strace", "a.json") as (store, trace):
        store.lock("a.json").release()
        calls = trace.calls_before_the_answer()
    assert [call for call in calls if call.name == "fsync"] == []


def test_what_is_acknowledged_is_flushed_even_when_the_connection_was_lost_before_the_answer(
    server: SambaServer, folder: SmbHarness, tmp_path: Path
) -> None:
    from wire_proxy import WireProxy

    with WireProxy("127.0.0.1", server.port) as wire:
        url = server.url(folder.root.name, port=wire.port)
        with open_store(url, **folder.options) as store:
            store.atomic_write("marker.json", b"{}")
            with Trace.of(server, tmp_path / "strace", lambda: void(store.read_snapshot("marker.json"))) as trace:
                wire.cut_at(0, "reply_lost")
                store.atomic_write("a.json", b"1")
                calls = trace.calls_before_the_answer()
    assert wire.fired.is_set()
    place(calls, "fsync", folder.root, after=renamed_to(calls, folder.root / "a.json"))


def test_a_server_that_syncs_only_by_name_is_not_found_out() -> None:
    """The limit of what a client can know: with ``strict sync = no`` the server says that it has flushed."""
    with (
        running_server(share_settings={"strict sync": "no"}) as lax,
        open_store(lax.url(), password=lax.password) as store,
    ):
        assert store.guarantees.durable


def test_a_lock_is_free_within_a_second_of_its_holder_being_killed(server: SambaServer, folder: SmbHarness) -> None:
    from exlab_store.clients.process import ClientProcess
    from exlab_store.testing.conformance.clients import KitRequests

    with open_store(str(folder.location), **folder.options) as store:

        def measure() -> float:
            client = ClientProcess(KitRequests, 30.0).open(str(folder.location), folder.options)
            try:
                client.ask("lock", key="a.json", timeout=5.0)
                client.kill()
                began = time.monotonic()
                store.lock("a.json", timeout=30.0).release()
                return time.monotonic() - began
            finally:
                client.end()

        assert is_once_below(1.0, measure)
