"""Client processes, which the doctor, the kit, the bench and the demo use, and what they do with a store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from client_requests import SleepyRequests
from conftest import lacking
from frames_of_errors import failure_of, shown_by_frames
from waiting import PATIENCE, eventually

from exlab_store import DocumentNotFound, NotSupported, Store, StoreError, open_store
from exlab_store.clients import work
from exlab_store.clients.client import ClientGone, NoAnswer
from exlab_store.clients.process import ClientProcess, end_all

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "correct-horse"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ClientProcess]:
    process = ClientProcess(SleepyRequests, PATIENCE).open(tmp_path)
    yield process
    process.kill()


def test_it_uses_the_store_that_it_was_told_to_open(client: ClientProcess, tmp_path: Path) -> None:
    assert client.opened.location == f"file://{tmp_path}"
    version = client.ask("write", key="a.json", data=b"1")
    assert client.ask("read", key="a.json") == (b"1", version)
    with open_store(tmp_path) as store:
        assert store.read_snapshot("a.json").data == b"1"


def test_what_the_store_raises_there_is_raised_here(client: ClientProcess) -> None:
    with pytest.raises(DocumentNotFound) as caught:
        client.ask("read", key="a.json")
    assert caught.value.key == "a.json"


def test_of_an_error_that_is_no_store_s_only_the_type_is_told(client: ClientProcess) -> None:
    with pytest.raises(StoreError) as caught:
        client.ask("fail", secret=PASSWORD)
    assert caught.value.message == "`fail` raised RuntimeError"
    assert client.ask("create", key="a.json", data=b"1") is True


def test_what_it_prints_does_not_get_among_its_answers(client: ClientProcess) -> None:
    assert client.ask("chatter") == 0
    assert client.ask("create", key="a.json", data=b"1") is True


def test_an_answer_has_a_deadline_and_may_be_waited_for_again(client: ClientProcess, tmp_path: Path) -> None:
    client.send("wait_for", path=str(tmp_path / "now"))
    with pytest.raises(NoAnswer, match=r"no answer to `wait_for` within 0\.1 s"):
        client.answer(0)
    (tmp_path / "now").touch()
    assert client.answer() is None


def test_no_answer_is_waited_for_beyond_the_deadline_of_all(client: ClientProcess) -> None:
    client.send("sleep", seconds=60)
    client.deadline = 0.0
    with pytest.raises(NoAnswer):
        client.answer()


def test_one_that_has_ended_is_known_at_once_and_whenever_it_is_asked(client: ClientProcess) -> None:
    client.send("sleep", seconds=60)
    client.kill()
    for _ in range(2):
        with pytest.raises(ClientGone, match="in `sleep` with -9"):
            client.answer()
    with pytest.raises(ClientGone):
        client.ask("read", key="a.json")


def test_it_opens_nothing_before_it_is_told_and_ends_with_its_input(tmp_path: Path) -> None:
    program = (
        "from exlab_store.clients.serving import serve; from exlab_store.clients.requests import StoreRequests; "
        "serve(StoreRequests)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, cwd=tmp_path, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_one_whose_parent_has_gone_stops_in_the_middle_of_its_work(tmp_path: Path) -> None:
    program = (
        "import sys, os; sys.path[:0] = sys.argv[2:]; from client_requests import SleepyRequests; "
        "from exlab_store.clients.process import ClientProcess\n"
        "client = ClientProcess(SleepyRequests, 60).open(sys.argv[1])\n"
        "client.send('work_until_over', note=sys.argv[1] + '/over')\n"
        "os._exit(0)"
    )
    here = Path(__file__).parent
    arguments = list(map(str, (tmp_path, here, here.parent)))
    subprocess.run([sys.executable, "-c", program, *arguments], timeout=60, check=True)
    eventually((tmp_path / "over").exists)


def test_two_may_believe_to_be_one_process(tmp_path: Path) -> None:
    with ClientProcess(SleepyRequests, PATIENCE).open(tmp_path, pid=4711) as client:
        assert client.ask("number") == 4711


def test_several_are_ended_at_the_same_time(tmp_path: Path) -> None:
    clients = [ClientProcess(SleepyRequests, PATIENCE).open(tmp_path) for _ in range(2)]
    for client in clients:
        _ = client.opened
    end_all(clients)
    for client in clients:
        with pytest.raises(ClientGone):
            client.answer()


def test_a_frozen_application_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(NotSupported, match="a frozen application has no Python to start"):
        ClientProcess(SleepyRequests, PATIENCE)


# Passwords


def _open_in_vain(monkeypatch: pytest.MonkeyPatch) -> str:
    """What a traceback with variables shows of an error in the middle of telling a client what to open."""

    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    location, options = f"smb://lab:{PASSWORD}@localhost:1/lab", {"password": PASSWORD, "timeout": 1}
    with ClientProcess(SleepyRequests, PATIENCE) as client:
        monkeypatch.setattr("exlab_store.clients.process._Pickler.dump", interrupted, raising=False)
        error = failure_of(lambda: client.open(location, options))
    assert isinstance(error, KeyboardInterrupt)
    return shown_by_frames(error)


def test_no_variable_has_the_password_while_the_client_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PASSWORD not in _open_in_vain(monkeypatch)


def test_a_store_that_cannot_be_opened_shows_no_password() -> None:
    with ClientProcess(SleepyRequests, PATIENCE) as client:
        client.open(f"smb://lab:{PASSWORD}@localhost:1/lab", {"timeout": 1, "tls": PASSWORD})
        error = failure_of(lambda: client.opened)
        assert isinstance(error, StoreError)
        assert PASSWORD not in shown_by_frames(error)
        assert PASSWORD not in repr(client) + repr(vars(client))


def test_nobody_reads_a_password_in_arguments_and_environment() -> None:
    if not Path("/proc/self/environ").exists():
        lacking("this system does not show the environment of a process in /proc")
    with ClientProcess(SleepyRequests, PATIENCE) as client:
        client.open(f"smb://lab:{PASSWORD}@localhost:1/lab", {"timeout": 1})
        failure_of(lambda: client.opened)
        process = Path(f"/proc/{client._process.pid}")
        assert PASSWORD.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()


# Work


@pytest.mark.parametrize("content", [b"", b"12\n3", b"-1", b"one"])
def test_a_counter_that_is_no_number_is_an_error_and_no_crash(memory: Store, content: bytes) -> None:
    memory.atomic_write("counter", content)
    with pytest.raises(StoreError, match=f"read as {len(content)} bytes"):
        work.count_up(memory, "counter", 0, 1)
    with pytest.raises(StoreError):
        work.swap_up(memory, "counter", 1, 1, 1)


def test_so_many_rounds_are_made_in_any_case() -> None:
    assert list(work.rounds(0, 3)) == [0, 1, 2]


def test_a_reader_counts_what_is_whole_torn_and_missing(memory: Store) -> None:
    memory.atomic_write("a", b"torn")
    assert work.read_sealed(memory, "b", lambda: True).missing == 1
    assert work.read_sealed(memory, "a", lambda: True).torn == 1
    work.write_sealed(memory, "a", "writer", 0, 1, 1000)
    assert work.read_sealed(memory, "a", lambda: True, 3).whole == 3
