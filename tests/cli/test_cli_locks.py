"""``exlab-store locks``: who holds which lock, held by real processes of several kinds."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import COMMAND, done, done_json, environment, refused
from conftest import lacking
from exlab_store_posix.processes import ProcessTable
from lock_holders import LOCKING, holder

from exlab_store import Store, open_store
from exlab_store.cli.locks import show_locks
from exlab_store.hidden_location import HiddenLocation

if TYPE_CHECKING:
    from samba_server import SambaServer

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell who holds a lock"),
    pytest.mark.one_interpreter,
]


def shown(capfd: pytest.CaptureFixture[str], location: str | Path) -> dict[str, Any]:
    """The answer, from this process: one of its own takes six times as long."""
    show_locks(HiddenLocation(location), held_only=False, as_json=True)
    return {lock["name"]: lock for lock in json.loads(capfd.readouterr().out)["locks"]}


def free_locks(store: Store, *keys: str) -> None:
    for key in keys:
        store.lock(key).release()


@pytest.fixture(autouse=True)
def needs_all_processes() -> None:
    if not ProcessTable().sees_all:
        lacking("run the tests outside of a container: in one, nobody can tell that a lock is free")


def test_a_held_lock_is_shown_with_its_holder_and_a_free_one_as_free(posix: Store, tmp_path: Path) -> None:
    free_locks(posix, "folder/b.json")
    with holder("this package", tmp_path) as process:
        said = done("locks", tmp_path)
        answer = done_json("locks", tmp_path)
    assert re.search(rf"held +a\.json\.lock +\w+ on {re.escape(os.uname().nodename)}, process {process.pid}", said)
    assert "for 're-sync'" in said
    assert re.search(r"free +folder/b\.json\.lock", said)
    assert said.endswith("Lock files: 1 held, 1 free, 0 unknown.\n")
    assert answer["location"] == f"file://{tmp_path}"
    held, free = answer["locks"]
    assert (held["name"], held["held"], held["owner"]["pid"]) == ("a.json.lock", True, process.pid)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", held["owner"]["since"])
    assert (free["name"], free["held"], free["owner"]) == ("folder/b.json.lock", False, None)


@pytest.mark.parametrize("how", LOCKING)
def test_a_lock_is_held_whichever_program_holds_it(tmp_path: Path, capfd: pytest.CaptureFixture[str], how: str) -> None:
    with holder(how, tmp_path):
        assert shown(capfd, tmp_path)["a.json.lock"]["held"] is True


def test_a_program_that_does_not_say_who_it_is_is_shown_as_such(tmp_path: Path) -> None:
    with holder("filelock", tmp_path):
        assert re.search(r"held +a\.json\.lock +a program that does not say", done("locks", tmp_path))


def test_a_killed_holder_holds_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with holder("this package", tmp_path) as process:
        process.kill()
        process.wait()
        assert shown(capfd, tmp_path)["a.json.lock"]["held"] is False


def test_free_locks_can_be_left_out_and_are_counted(posix: Store, tmp_path: Path) -> None:
    free_locks(posix, "b.json", "c.json")
    with holder("filelock", tmp_path):
        said = done("locks", "--held", tmp_path)
        assert [lock["name"] for lock in done_json("locks", "--held", tmp_path)["locks"]] == ["a.json.lock"]
    assert "b.json" not in said
    assert "1 held, 2 free" in said


def test_a_store_without_lock_files_says_so(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("a.json", b"{}")
    assert done("locks", tmp_path) == "There are no lock files.\n"
    assert done_json("locks", tmp_path)["locks"] == []


def test_a_store_in_memory_keeps_no_lock_files() -> None:
    assert done("locks", "memory://lab") == "There are no lock files.\n"


def test_a_folder_of_a_named_store_is_looked_at_alone(posix: Store, tmp_path: Path) -> None:
    free_locks(posix, "folder/a.json", "b.json")
    file = tmp_path.parent / f"{tmp_path.name}.toml"
    file.write_text(f'[stores.lab]\nurl = "{tmp_path.as_uri()}"\n')
    answer = done_json("locks", "@lab/folder", EXLAB_STORE_CONFIG=str(file))
    assert [lock["name"] for lock in answer["locks"]] == ["a.json.lock"]


def test_many_locks_with_long_names_fit_80_columns(posix: Store, tmp_path: Path) -> None:
    free_locks(posix, *(f"{'a folder/' * 12}{number}-{'measurement' * 9}.json" for number in range(3)))
    with holder("this package", tmp_path):
        lines = done("locks", tmp_path).splitlines()
    assert max(map(len, lines)) <= 80


def test_what_somebody_has_written_into_a_lock_file_cannot_drive_the_terminal(posix: Store, tmp_path: Path) -> None:
    with posix.lock("a.json", purpose="\x1b[2J\nfree") as held:
        del held
        said = done("locks", tmp_path)
    assert "\x1b" not in said
    assert "x1b[2J" in said.replace("\n", "").replace(" ", "")


def test_in_a_terminal_the_answer_fits_and_nothing_is_left_of_the_waiting(posix: Store, tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect", reason="install pexpect to run the command in a terminal")
    with holder("this package", tmp_path):
        child = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], "locks", str(tmp_path)],
            dimensions=(24, 80),
            encoding="utf-8",
            timeout=60,
            env=environment(),
        )
        child.expect(pexpect.EOF)
        child.close()
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.before)
    assert child.exitstatus == 0
    assert "1 held, 0 free, 0 unknown." in said
    assert max(map(len, re.split(r"[\r\n]+", said))) <= 80


def test_a_place_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert "there is no such directory" in refused(2, "locks", tmp_path / "missing")
    assert json.loads(refused(2, "locks", "--json", tmp_path / "missing"))["error"]["code"] == "invalid_location"


def test_nothing_frees_a_lock_by_force_and_the_help_says_what_does(tmp_path: Path) -> None:
    said = done("locks", "--help")
    for way in ("end the process", "smbstatus", "net file", "unmount"):
        assert way in said
    assert "No such option" in refused(2, "locks", "--force", tmp_path, process=True)


def test_a_lock_on_a_share_is_shown_with_its_holder(samba: SambaServer) -> None:
    with open_store(samba.url(), password=samba.password) as store:
        free_locks(store, "b.json")
        with store.lock("a.json", purpose="re-sync") as lock:
            said = done("locks", samba.url(), FSSPEC_SMB_PASSWORD=samba.password)
    assert re.search(rf"held +a\.json\.lock +{lock.owner.user} on", said)
    assert re.search(r"free +b\.json\.lock", said)
    assert samba.password not in said


def test_a_lock_that_may_be_held_names_who_may_hold_it(samba: SambaServer) -> None:
    samba.add_share("lax", samba.directory / "lax", strict_locking="no")
    with open_store(samba.url(share="lax"), password=samba.password) as store, store.lock("a.json") as lock:
        said = done("locks", samba.url(share="lax"), FSSPEC_SMB_PASSWORD=samba.password)
    assert re.search(rf"unknown +a\.json\.lock +perhaps {lock.owner.user} on", said)
    assert "0 held, 0 free, 1 unknown" in said
