"""``exlab-store get``, ``put``, ``ls``, ``stat`` and ``rm``: one document, or a folder, from a shell."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import COMMAND, _run_here, environment, refused, run_command

from exlab_store import Store, open_store

if TYPE_CHECKING:
    from samba_server import SambaServer

BYTES = b'\x00{"a":"\xc3\xa4"}\r\n\xff\x1b no line break'


def version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def done(*arguments: str | Path, **options: Any) -> str:
    """What the command prints when all is well; in this process, for there are many."""
    result = _run_here(*arguments, **options)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def done_json(*arguments: str | Path, **options: Any) -> Any:
    return json.loads(done(*arguments, "--json", **options))


# get


def test_get_prints_the_very_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(BYTES)
    result = subprocess.run([*COMMAND, "get", "a.json"], cwd=tmp_path, capture_output=True, env=environment())
    assert (result.returncode, result.stdout, result.stderr) == (0, BYTES, b"")


def test_get_writes_a_file_and_prints_versions(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(BYTES)
    assert done("get", "a.json", "--output", "copy", cwd=tmp_path) == ""
    assert (tmp_path / "copy").read_bytes() == BYTES
    assert done("get", "a.json", "--version", cwd=tmp_path) == f"{version(BYTES)}\n"
    assert done_json("get", "a.json", cwd=tmp_path) == {
        "location": f"file://{tmp_path}/a.json",
        "size": len(BYTES),
        "version": version(BYTES),
    }


def test_get_of_what_is_not_there_is_not_found_and_makes_nothing(tmp_path: Path) -> None:
    assert "there is no such document" in refused(3, "get", tmp_path / "folder" / "a.json")
    error = json.loads(refused(3, "get", tmp_path / "a.json", "--json"))["error"]
    assert error["code"] == "document_not_found"
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(BYTES)
    assert "cannot be written: Is a directory" in refused(1, "get", tmp_path / "a.json", "-o", tmp_path)


# put


def test_put_makes_and_replaces_a_document_and_prints_its_version(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(BYTES)
    assert done("put", "lab/a.json", "new", cwd=tmp_path) == f"{version(BYTES)}\n"
    assert (tmp_path / "lab" / "a.json").read_bytes() == BYTES
    put = done_json("put", "lab/a.json", "-", cwd=tmp_path, stdin=b"{}")
    assert put == {"location": f"file://{tmp_path}/lab/a.json", "size": 2, "version": version(b"{}")}
    assert (tmp_path / "lab" / "a.json").read_bytes() == b"{}"


def test_put_with_expect_is_compare_and_swap(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    first = done("put", path, "-", "--expect", "ABSENT", stdin=b"1").strip()
    assert "exists already" in refused(4, "put", path, "-", "--expect", "absent", stdin=b"2")
    second = done("put", path, "-", "--expect", first, stdin=b"2").strip()
    assert "somebody else has changed" in refused(4, "put", path, "-", "--expect", first, stdin=b"3")
    error = json.loads(refused(4, "put", path, "-", "--expect", first, "--json", stdin=b"3"))["error"]
    assert (error["code"], error["details"]) == ("version_conflict", {"expected": first, "found": second})
    assert path.read_bytes() == b"2"
    assert "somebody else" in refused(4, "put", tmp_path / "none.json", "-", "--expect", first, stdin=b"3")
    assert not (tmp_path / "none.json").exists()


@pytest.mark.one_interpreter
@pytest.mark.parametrize("command", ["put", "rm"])
@pytest.mark.parametrize("expect", [(), ("--expect", version(b"1"))])
def test_a_locked_document_is_left_as_it_is(
    tmp_path: Path, posix: Store, command: str, expect: tuple[str, ...]
) -> None:
    (tmp_path / "a.json").write_bytes(b"1")
    source = ("-",) if command == "put" else ()
    with posix.lock("a.json", purpose="a long re-sync"):
        said = refused(5, command, tmp_path / "a.json", *source, *expect, "--timeout", "0.05", stdin=b"2", process=True)
    assert "'a long re-sync'" in said
    assert (tmp_path / "a.json").read_bytes() == b"1"


def test_put_waits_until_an_update_is_done(tmp_path: Path, posix: Store) -> None:
    """An update that has read cannot overwrite what was put meanwhile: the put comes after it."""
    path = tmp_path / "a.json"
    path.write_bytes(b"0")
    reading, go_on = threading.Event(), threading.Event()

    def change(_current: bytes | None) -> bytes:
        reading.set()
        assert go_on.wait(60)
        return b"updated"

    updating = threading.Thread(target=posix.update, args=("a.json", change))
    updating.start()
    assert reading.wait(60)
    with subprocess.Popen(
        [*COMMAND, "put", str(path), "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment()
    ) as putting:
        assert putting.stdin is not None
        putting.stdin.write(b"put")
        putting.stdin.close()
        lock = os.stat(f"{path}.lock")
        while not _opened(putting.pid, lock) and putting.poll() is None:
            time.sleep(0.002)
        assert putting.poll() is None
        assert path.read_bytes() == b"0"
        go_on.set()
    updating.join()
    assert (putting.returncode, path.read_bytes()) == (0, b"put")


def _opened(process: int, file: os.stat_result) -> bool:
    try:
        return any(os.path.samestat(found.stat(), file) for found in Path(f"/proc/{process}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.one_interpreter
def test_several_who_put_at_once_with_one_version_write_once(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"0")
    crew = [
        subprocess.Popen(
            [*COMMAND, "put", str(path), str(_file(tmp_path, number)), "--expect", version(b"0")],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        for number in range(1, 5)
    ]
    said = [process.communicate(timeout=60)[0] for process in crew]
    assert sorted(process.returncode for process in crew) == [0, 4, 4, 4]
    assert [text for text in said if text] == [f"{version(path.read_bytes())}\n".encode()]


def _file(folder: Path, number: int) -> Path:
    file = folder / f"source-{number}"
    file.write_bytes(b"%d" % number)
    return file


def test_put_of_a_source_that_cannot_be_read_writes_nothing(tmp_path: Path) -> None:
    assert "no such file" in refused(3, "put", tmp_path / "a.json", tmp_path / "nothing")
    assert "it is a directory" in refused(2, "put", tmp_path / "a.json", tmp_path)
    command = [*COMMAND, "put", str(tmp_path / "a.json"), "-"]
    closed = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *command], capture_output=True, env=environment())
    assert (closed.returncode, closed.stdout) == (1, b"")
    assert b"standard input: it is closed." in closed.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_fails_before_the_pipe_does_not_empty_the_document(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(BYTES)
    assert "nothing came from standard input" in refused(1, "put", "a.json", "-", cwd=tmp_path, stdin=b"")
    assert "nothing was written" in refused(1, "put", "new.json", "-", "--expect", "absent", cwd=tmp_path, stdin=b"")
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == BYTES
    (tmp_path / "empty").touch()
    assert done("put", "a.json", "empty", cwd=tmp_path) == f"{version(b'')}\n"  # who names it means it


# ls


def test_ls_shows_the_keys_and_nothing_else(tmp_path: Path) -> None:
    names = ["b  two.json", "a/ä.json", "a/b/c.json"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    for name in ("a.json.lock", "a.json.tmp.1.0123456789abcdef", "what?"):
        (tmp_path / name).touch()
    assert done("ls", "-R", tmp_path).splitlines() == sorted(names)
    assert done("ls", "-R", "a", cwd=tmp_path).splitlines() == ["b/c.json", "ä.json"]
    assert done_json("ls", "--recursive", tmp_path)["documents"] == [{"key": name} for name in sorted(names)]
    for line, name in zip(done("ls", "-R", "--long", tmp_path).splitlines(), sorted(names), strict=True):
        assert line.split(maxsplit=2) == [str(len(name.encode())), version(name.encode()), name]
    assert done_json("ls", "-R", "-l", tmp_path) == {
        "location": f"file://{tmp_path}",
        "documents": [
            {"key": name, "size": len(name.encode()), "version": version(name.encode())} for name in sorted(names)
        ],
    }


def test_ls_shows_one_folder_and_what_is_below_it_only_when_asked(tmp_path: Path) -> None:
    for name in ("b.json", "a/c.json", "a.json", "z/y/x.json", "c.json.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    assert done("ls", tmp_path).splitlines() == ["a/", "a.json", "b.json", "z/"]
    assert done("ls", "z", cwd=tmp_path) == "y/\n"
    assert done_json("ls", tmp_path) == {
        "location": f"file://{tmp_path}",
        "documents": [{"key": "a.json"}, {"key": "b.json"}],
        "folders": ["a", "z"],
    }
    lines = [line.split(maxsplit=2) for line in done("ls", "-l", tmp_path).splitlines()]
    assert lines == [
        ["-", "-", "a/"],
        ["1", version(b"1"), "a.json"],
        ["1", version(b"1"), "b.json"],
        ["-", "-", "z/"],
    ]


def test_ls_of_an_empty_folder_prints_nothing(tmp_path: Path) -> None:
    assert (done("ls", tmp_path), done("ls", "--long", tmp_path)) == ("", "")


@pytest.mark.parametrize(("place", "message"), [("nothing", "no such directory"), ("a.json", "not a directory")])
def test_ls_of_what_is_no_folder_is_wrong_usage(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "a.json").touch()
    assert message in refused(2, "ls", tmp_path / place)


# stat


def test_stat_shows_what_is_known_without_reading(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.json").write_bytes(b"123")
    os.utime(tmp_path / "folder" / "a.json", (0, 1_000_000_000.5))
    shown = "Kind:     document\nSize:     3 bytes\nModified: 2001-09-09T01:46:40.500Z\n"
    assert done("stat", "folder/a.json", cwd=tmp_path) == shown
    assert done("stat", "folder", cwd=tmp_path).startswith("Kind:     folder\nModified: ")
    assert done_json("stat", tmp_path / "folder" / "a.json") == {
        "location": f"file://{tmp_path}/folder/a.json",
        "kind": "document",
        "size": 3,
        "modified": "2001-09-09T01:46:40.500Z",
    }
    assert "there is no such document" in refused(3, "stat", tmp_path / "nothing")


# rm


def test_rm_with_r_deletes_a_folder_and_all_below_it(tmp_path: Path) -> None:
    for name in ("run/a.json", "run/a.json.lock", "run/b/c.json", "run/b/c.json.tmp.1", "kept.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    assert "names a folder" in refused(2, "rm", tmp_path / "run")
    assert done("rm", "-r", "run", cwd=tmp_path) == f"Deleted file://{tmp_path}/run.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
    assert "no such folder" in refused(3, "rm", "-r", tmp_path / "run")
    assert "not a folder" in refused(2, "rm", "-r", tmp_path / "kept.json")
    assert "a folder has no version" in refused(2, "rm", "-r", tmp_path / "run", "--expect", version(b"1"))


def test_rm_with_r_is_refused_while_a_lock_is_held_and_names_what_is_left(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.json").write_bytes(b"1")
    with open_store(tmp_path) as store, store.lock("run/a.json", purpose="a long measurement"):
        assert "a long measurement" in refused(5, "rm", "-r", tmp_path / "run")
    assert (tmp_path / "run" / "a.json").exists()
    (tmp_path / "run" / "no:key").touch()
    said = refused(4, "rm", "-r", tmp_path / "run")
    assert "'no:key'" in said
    assert "all documents (1) are deleted" in said


@pytest.mark.parametrize(("answer", "there"), [("yes", False), ("no", True), ("", True)])
def test_rm_with_r_asks_in_a_terminal(tmp_path: Path, answer: str, there: bool) -> None:
    pexpect = pytest.importorskip("pexpect", reason="install pexpect to run the command in a terminal")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.json").write_bytes(b"1")
    arguments = [*COMMAND[1:], "rm", "-r", "run"]
    child = pexpect.spawn(
        COMMAND[0], arguments, cwd=str(tmp_path), timeout=60, env=environment(), encoding="utf-8", dimensions=(24, 200)
    )
    child.expect("with 1 document. Type yes to delete it:")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, (tmp_path / "run" / "a.json").exists()) == (int(there), there)


def test_rm_deletes_a_document_and_not_its_lock(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"1")
    assert done("rm", tmp_path / "a.json") == f"Deleted file://{tmp_path}/a.json.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json.lock"]
    assert "there is no such document" in refused(3, "rm", tmp_path / "a.json")


def test_rm_of_a_mistyped_name_makes_nothing(tmp_path: Path) -> None:
    refused(3, "rm", tmp_path / "tpyo" / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_rm_with_expect_deletes_only_that_version(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"1")
    assert "somebody else has changed" in refused(4, "rm", tmp_path / "a.json", "--expect", version(b"2"))
    assert "absent cannot be deleted" in refused(2, "rm", tmp_path / "a.json", "--expect", "absent")
    assert (tmp_path / "a.json").exists()
    deleted = done_json("rm", tmp_path / "a.json", "--expect", version(b"1"))
    assert deleted == {"location": f"file://{tmp_path}/a.json", "deleted": True}
    assert not (tmp_path / "a.json").exists()


# All of them


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("get",), 2, "Missing argument"),
        (("put", "a.json"), 2, "Missing argument"),
        (("put", "a.json", "-", "--expect", ""), 2, "it is empty"),
        (("put", "a.json", "-", "--timeout", "-1"), 2, "Invalid value for '--timeout'"),
        (("get", ""), 2, "the location is empty"),
        (("get", "x.lock"), 2, "a name that stores keep for themselves"),
        (("put", "x.tmp.1", "-"), 2, "a name that stores keep for themselves"),
        (("rm", "ftp://nas01/a"), 2, "no installed backend serves 'ftp'"),
        (("get", "folder"), 2, "names a folder"),
        (("put", "folder", "-"), 2, "names a folder"),
        (("rm", "folder"), 2, "names a folder"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "folder" / "below").mkdir(parents=True)
    assert message in refused(code, *arguments, cwd=tmp_path, stdin=b"{}")


def test_a_server_that_is_not_there_is_unavailable() -> None:
    assert run_command("get", "failing://unavailable/a", with_faulty=True).returncode == 6


@pytest.mark.one_interpreter
def test_on_a_share_each_does_the_same(samba: SambaServer) -> None:
    url = samba.url("lab", password=True)
    first = done("put", f"{url}/a/ä.json", "-", "--expect", "absent", stdin=BYTES).strip()
    assert (first, samba.root.joinpath("lab/a/ä.json").read_bytes()) == (version(BYTES), BYTES)
    assert done("ls", url, "-R", "--long") == f"{len(BYTES)}  {first}  a/ä.json\n"
    assert done("ls", url) == "a/\n"
    assert f"Size:     {len(BYTES)} bytes\n" in done("stat", f"{url}/a/ä.json")
    assert done("get", f"{url}/a/ä.json", "--version") == f"{first}\n"
    with open_store(samba.root / "lab") as store, store.lock("a/ä.json", purpose="on the server itself"):
        said = refused(5, "put", f"{url}/a/ä.json", "-", "--timeout", "0.1", stdin=b"2")
    assert "on the server itself" in said
    said += refused(4, "rm", f"{url}/a/ä.json", "--expect", version(b"2"))
    assert done("rm", f"{url}/a/ä.json", "--expect", first).startswith("Deleted smb://")
    said += refused(3, "get", f"{url}/a/ä.json")
    assert done("rm", "-r", f"{url}/a").startswith("Deleted smb://")
    assert not samba.root.joinpath("lab/a").exists()
    assert samba.password not in said


def test_in_a_terminal_it_fits_and_what_is_typed_is_put(tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect", reason="install pexpect to run the command in a terminal")

    def in_terminal(*arguments: str) -> Any:
        return pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], *arguments],
            cwd=str(tmp_path),
            dimensions=(24, 80),
            encoding="utf-8",
            timeout=60,
            env=environment(),
        )

    child = in_terminal("put", "a.json", "-")
    child.expect("Reading the document from the terminal; end it with Ctrl-D.")
    child.sendline('{"typed": "in"}')
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, (tmp_path / "a.json").read_bytes()) == (0, b'{"typed": "in"}\n')
    (tmp_path / "b\u202e.json").touch()
    child = in_terminal("ls", "--long", ".")
    child.expect(pexpect.EOF)
    assert "b\\u202e.json" in child.before
    assert f"{version(b'')[:12]}..." in child.before
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.before)
    assert max(map(len, re.split(r"[\r\n]+", shown))) <= 80


def test_a_reader_that_leaves_ends_get_quietly(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"x" * 1_000_000)
    with subprocess.Popen(
        [*COMMAND, "get", str(tmp_path / "a.json")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.one_interpreter
def test_what_does_not_fit_into_a_full_disk_or_a_closed_pipe_is_not_left_out_in_silence(tmp_path: Path) -> None:
    # Containers often set PYTHONUNBUFFERED, and a stream without a buffer takes what fits and says nothing of the rest.
    (tmp_path / "a.json").write_bytes(b"x" * 1_000_000)
    for setting in ("1", ""):
        variables = environment(PYTHONUNBUFFERED=setting)
        command = f"ulimit -f 100; trap '' XFSZ; {shlex.join(COMMAND)} get a.json > copy"
        result = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, env=variables)
        assert (result.returncode, (tmp_path / "copy").stat().st_size < 1_000_000) == (1, True), setting
        assert b"the output cannot be written: File too large" in result.stderr
        process = subprocess.Popen(
            [*COMMAND, "get", "a.json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(1) == b"x"
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 128 + signal.SIGPIPE, setting
