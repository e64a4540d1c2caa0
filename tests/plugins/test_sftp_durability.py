"""A durable write over SFTP, as the system calls of the process on the server show it."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
from conftest import lacking
from ssh_server import SshServer, new_folder, running_sshd
from traced_lines import whole_calls
from waiting import eventually

from exlab_store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.one_interpreter

_CALL = re.compile(r"(?:\d+ +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FILE = re.compile(r"\d+<(?P<path>[^>]*)>")
_MARKER = "marker.json"
_TRACED = "write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat"


class Call(NamedTuple):
    """A system call that has succeeded. Names are whole paths."""

    name: str
    path: str
    to: str = ""


class Trace:
    """What the process on the server does from now on."""

    def __init__(self, log: Path, process: subprocess.Popen[str], store: Store) -> None:
        self._log = log
        self._process = process
        self._store = store

    def calls(self) -> list[Call]:
        """What was done until the answer: the last line that was written to the pipe of the connection."""
        # strace is behind: the client has the answer before that stands in the log, and then a half of its line first.
        # What comes before a later call is whole, as the process does one thing at a time.
        self._store.atomic_write(_MARKER, b"1")
        eventually(lambda: any(_MARKER in line for line in self._lines()))
        self._process.terminate()
        self._process.wait(30)
        lines = itertools.takewhile(lambda line: _MARKER not in line, self._lines())
        calls = [call for line in whole_calls(lines) if (call := _call(line))]
        answered = max(number for number, call in enumerate(calls) if call.name == "answer")
        return calls[:answered]

    def _lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()


def _call(line: str) -> Call | None:
    found = _CALL.match(line)
    if found is None or int(found["result"]) < 0:
        return None
    name, arguments = found["name"], found["arguments"]
    file, names = _FILE.match(arguments), _QUOTED.findall(arguments)
    if name == "write":
        assert file is not None
        return Call("answer", "") if file["path"].startswith("pipe:") else Call("write", file["path"])
    if name in {"fsync", "fdatasync"}:
        assert file is not None
        return Call("fsync", file["path"])
    return Call(re.sub("at2?$", "", name), names[0], names[-1])


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with running_sshd() as found:
        yield found


@pytest.fixture
def folder(server: SshServer) -> Path:
    return new_folder(server)


@contextmanager
def watched(server: SshServer, folder: Path, log: Path) -> Iterator[tuple[Store, Trace]]:
    """A store, and what its process on the server does from now on."""
    strace = shutil.which("strace")
    if strace is None:
        lacking("install strace to watch the system calls of the server: apt-get install strace")
        raise AssertionError
    with open_store(server.url(folder.name), **server.options) as store:
        (pid,) = server.shell_pids()
        process = subprocess.Popen(
            [strace, "-f", "-y", "-s", "400", "-o", str(log), "-e", f"trace={_TRACED}", "-p", str(pid)],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            if "attached" not in said:
                lacking(f"strace may not trace here: {said}")
            yield store, Trace(log, process, store)
        finally:
            process.terminate()
            process.wait(30)
            assert process.stderr is not None
            process.stderr.close()


def _place(calls: list[Call], name: str, path: Path | str, *, after: int = -1) -> int:
    for number, call in enumerate(calls):
        if number > after and call.name == name and call.path == str(path):
            return number
    raise AssertionError(f"no {name} of {path} after {after} in {[*enumerate(calls)]}")


@pytest.mark.parametrize("size", [2, 3 << 20])
def test_the_file_is_flushed_before_it_gets_its_name_and_the_folder_after_that(
    server: SshServer, folder: Path, tmp_path: Path, size: int
) -> None:
    (folder / "a.json").write_bytes(b"before")
    with watched(server, folder, tmp_path / "strace") as (store, trace):
        store.atomic_write("a.json", b"1" * size)
        calls = trace.calls()
    (renamed,) = [number for number, call in enumerate(calls) if call.to == str(folder / "a.json")]
    temporary = calls[renamed].path
    written = max(number for number, call in enumerate(calls) if (call.name, call.path) == ("write", temporary))
    assert written < _place(calls, "fsync", temporary, after=written) < renamed
    _place(calls, "fsync", folder, after=renamed)


def test_new_folders_are_flushed_up_to_the_stores(server: SshServer, folder: Path, tmp_path: Path) -> None:
    with watched(server, folder, tmp_path / "strace") as (store, trace):
        store.atomic_write("new/deeper/a.json", b"1")
        calls = trace.calls()
    (renamed,) = [number for number, call in enumerate(calls) if call.to == str(folder / "new" / "deeper" / "a.json")]
    for path in (folder, folder / "new", folder / "new" / "deeper"):
        _place(calls, "fsync", path, after=renamed)


def test_the_folder_of_a_deleted_document_is_flushed(server: SshServer, folder: Path, tmp_path: Path) -> None:
    (folder / "a.json").write_bytes(b"before")
    with watched(server, folder, tmp_path / "strace") as (store, trace):
        store.delete("a.json")
        calls = trace.calls()
    _place(calls, "fsync", folder, after=_place(calls, "unlink", folder / "a.json"))


def test_a_document_keeps_its_rights_and_a_new_one_has_the_usual_ones(server: SshServer, folder: Path) -> None:
    for port in (server.port, server.bare_port):
        with open_store(server.url(folder.name, port=port), **server.options) as store:
            store.atomic_write("new.json", b"1")
            (folder / "plain").write_bytes(b"1")
            usual = (folder / "plain").stat().st_mode
            assert (folder / "new.json").stat().st_mode == usual
            (folder / "new.json").chmod(0o640)
            store.atomic_write("new.json", b"2")
            assert (folder / "new.json").stat().st_mode & 0o777 == 0o640
            (folder / "new.json").unlink()
