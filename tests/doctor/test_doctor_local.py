"""The doctor at local places, and what it makes of signs that no test machine shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from examined import BRIEF, finding, outcomes

from exlab_store import Guarantees, Leftover, LocationError
from exlab_store.doctor import clocks, durability, examine, mounts, space
from exlab_store.doctor.probes import OF_MACHINES, OF_PAIRS, OF_PLACES, PROBES
from exlab_store.doctor.verdict import Evidence, blamed, judge

if TYPE_CHECKING:
    from exlab_store.doctor.findings import ProbeResult

COMMAND = [sys.executable, "-m", "exlab_store.cli", "doctor"]

HOST = Guarantees(lock_scope="host", conditional_write="locked", atomic_replace=True)
SITE = msgspec.structs.replace(HOST, lock_scope="site")


# Places


@pytest.mark.one_interpreter
def test_two_places_that_are_not_one_storage_are_not_compared(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    examination = examine([str(tmp_path / "one"), str(tmp_path / "other")], seconds=BRIEF, only={"clock"})
    assert outcomes(examination, 0, 1) == {"same": "not applicable"}
    assert examination.failed == ()


def test_a_store_that_processes_cannot_share_is_refused() -> None:
    with pytest.raises(LocationError, match="processes cannot share this store"):
        examine(["memory://lab"], seconds=BRIEF)


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match="no such directory"):
        examine([str(tmp_path / "nowhere")], seconds=BRIEF)


def test_what_has_its_time_is_told_from_the_first_probe_to_the_last(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    examine([str(tmp_path)], seconds=BRIEF, only={"clock"}, progress=lambda *step: told.append(step))
    assert told == [(0, 2, "Reachable, and how fast"), (1, 2, "Clocks"), (2, 2, "Cleaning up")]


def _examining(folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [*COMMAND, str(folder), "--seconds", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while not list(folder.glob("exlab-store-doctor-*/1/reach.json")):
        assert process.poll() is None
        time.sleep(0.002)
    return process


def _clients_of(process: int) -> list[int]:
    threads = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the clients are found through /proc")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_doctor_that_is_interrupted_leaves_no_folder_and_no_process(tmp_path: Path, sign: signal.Signals) -> None:
    with _examining(tmp_path) as process:
        clients = _clients_of(process.pid)
        process.send_signal(sign)
        _, complained = process.communicate(timeout=60)
    assert process.returncode == 128 + sign
    assert complained == b""
    assert len(clients) == 2
    assert not any(map(_runs, clients))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.one_interpreter
def test_what_a_killed_doctor_leaves_is_found_by_the_next_one(tmp_path: Path) -> None:
    with _examining(tmp_path) as process:
        process.kill()
    [folder] = tmp_path.iterdir()
    examination = examine([str(tmp_path)], seconds=BRIEF, only={"leftovers"})
    found = finding(examination, "leftovers")
    assert found.outcome == "warn"
    assert f"Delete {folder.name}" in found.advice
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.one_interpreter
def test_old_temporary_files_and_corrupt_copies_are_a_warning_and_stay(tmp_path: Path) -> None:
    names = {"a.json", "a.json.lock", "a.json.corrupt-20260505T142300Z", "a.json.tmp.1.0123456789abcdef"}
    for name in names:
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (0, 0))
    found = finding(examine([str(tmp_path)], seconds=BRIEF, only={"leftovers"}), "leftovers")
    assert found.outcome == "warn"
    assert found.observed == "documents: 2, lock files: 1 (0 held), old temporary files: 1, corrupt copies: 1"
    assert "`exlab-store sweep`" in found.advice
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.skipif(sys.platform != "linux", reason="the backend looks for open files in /proc")
@pytest.mark.parametrize(
    ("how", "words"),
    [
        pytest.param("waits", "waits until it is closed", marks=pytest.mark.slow),
        ("refuses", "is refused"),
    ],
)
def test_a_server_that_does_not_replace_what_is_open_is_windows_like(
    how: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "windows"))
    examination = examine([f"windows://{how}{tmp_path}"], seconds=BRIEF, only={"held-open"})
    found = finding(examination, "held-open")
    assert found.outcome == "warn"
    assert found.observed == f"Windows-like: while another program has a document open, a write {words}"
    assert examination.broken == ()


@pytest.mark.one_interpreter
@pytest.mark.skipif(sys.platform == "win32", reason="the system has no modes")
def test_documents_that_others_cannot_read_or_replace_are_a_warning(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        private = examine([str(tmp_path)], seconds=BRIEF, only={"permissions"})
    finally:
        os.umask(before)
    assert "no other account can read it" in finding(private, "permissions").observed
    tmp_path.chmod(0o1777)
    sticky = examine([str(tmp_path)], seconds=BRIEF, only={"permissions"})
    assert "`chmod -t`" in finding(sticky, "permissions").advice


def test_there_is_a_probe_for_every_name() -> None:
    assert len(PROBES) == len({probe.name for probe in (*OF_PLACES, *OF_PAIRS, *OF_MACHINES)})


# Signs


CIFS = "55 23 0:50 / /mnt/nas rw,relatime shared:1 - cifs //nas01/lab rw,vers=3.1.1,cache=strict,{options}actimeo=1"


def _mounted(options: str, kernel: str = "6.1.0-28-amd64") -> ProbeResult:
    lines = ["22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw", CIFS.format(options=options)]
    return mounts.judged(mounts.mount_of("/mnt/nas/exlab", "\n".join(lines)), kernel)


def test_a_mount_is_found_by_its_longest_point_and_its_options_are_those_of_both_kinds() -> None:
    found = _mounted("")
    assert found.outcome == "pass"
    assert "cifs, mounted at /mnt/nas" in found.observed


@pytest.mark.parametrize(
    ("options", "word"), [("nobrl,", "locks stay on this host"), ("nolock,", "locks"), ("soft,", "outcome")]
)
def test_a_mount_option_that_takes_a_promise_away_is_a_warning(options: str, word: str) -> None:
    found = _mounted(options)
    assert found.outcome == "warn"
    assert word in found.observed
    assert options.rstrip(",") in found.advice


def test_a_cifs_mount_of_an_old_kernel_is_a_warning() -> None:
    assert _mounted("", "5.15.0-91-generic").outcome == "warn"
    assert _mounted("", "5.19.0").outcome == "pass"


class Patient:
    """Stands for a visit: its clients answer what they are given."""

    def __init__(self, guarantees: Guarantees = HOST, **answers: object) -> None:
        self.common = guarantees
        self.of_server = True
        self.seconds = BRIEF
        self.directory: str | None = None
        self._answers = answers
        self.first = self.second = self

    def bypass(self, _number: int = 0) -> None:
        return None

    def key(self, name: str) -> str:
        return name

    def send(self, request: str, **_arguments: object) -> None:
        self._request = request

    def answer(self, _seconds: float) -> object:
        return self.ask(self._request)

    def ask(self, request: str, **_arguments: object) -> object:
        answer = self._answers.get(request)
        return answer() if callable(answer) else answer


@pytest.mark.parametrize(("skew", "outcome", "words"), [(0.5, "pass", "agree"), (90, "warn", "90 s ahead of")])
def test_a_clock_that_is_wrong_is_a_warning(skew: float, outcome: str, words: str) -> None:
    found = clocks.clock(Patient(modified=lambda: time.time() + skew))  # type: ignore[arg-type]
    assert (found.outcome, words in found.observed) == (outcome, True)


def test_a_clock_that_is_minutes_behind_is_one_that_kerberos_refuses() -> None:
    found = clocks.clock(Patient(modified=lambda: time.time() - 400))  # type: ignore[arg-type]
    assert "behind" in found.observed
    assert "Kerberos" in found.advice


@pytest.mark.parametrize(
    ("dirty", "clean", "outcome"),
    [
        ([9.0, 4.0, 20.0], [1.0, 0.5, 3.0], "pass"),
        ([0.9, 0.6, 15.0], [0.5, 0.5, 9.0], "warn"),
        ([30.5, 30.2, 31.0], [30.1, 30.0, 30.4], "warn"),  # a network of 30 ms hides nothing
        ([36.0, 35.0, 38.0], [30.1, 30.0, 30.4], "pass"),
    ],
)
def test_a_flush_that_is_faster_than_any_disk_is_a_warning(
    dirty: list[float], clean: list[float], outcome: str
) -> None:
    durable = msgspec.structs.replace(HOST, durable=True)
    found = durability.flush(Patient(durable, time_flushes=(dirty, clean)))  # type: ignore[arg-type]
    assert found.outcome == outcome
    assert found.seen == {"durable": "plausible" if outcome == "pass" else "doubtful"}


def test_young_temporary_files_are_those_of_writers_at_work() -> None:
    young = Leftover(name="a.json.tmp.1.0123456789abcdef", kind="temporary", size=1, modified=time.time())
    assert space._judged([young], []).outcome == "pass"
    assert space._judged([msgspec.structs.replace(young, abandoned=True)], []).outcome == "warn"


# The verdict


def test_of_several_observations_the_worst_counts() -> None:
    evidence = [Evidence(0, "lock_scope", "held", "lock"), Evidence(0, "lock_scope", "broken", "wait")]
    [claim] = [each for each in judge([HOST], evidence) if each.guarantee == "lock_scope"]
    assert (claim.seen, claim.probes) == ("broken", ("wait",))


def test_what_is_not_claimed_cannot_be_broken_and_what_nobody_looked_at_is_not_tested() -> None:
    found = {claim.guarantee: claim.seen for claim in judge([HOST], [])}
    assert found["durable"] == "not claimed"
    assert found["lock_scope"] == "not tested"


@pytest.mark.parametrize(
    ("claims", "numbers"), [([HOST, SITE], [1]), ([SITE, SITE], [0, 1]), ([HOST, HOST], [0, 1]), ([SITE, HOST], [0])]
)
def test_of_two_places_that_do_not_exclude_each_other_the_one_that_claims_more_is_blamed(
    claims: list[Guarantees], numbers: list[int]
) -> None:
    assert blamed("lock_scope", "broken", list(enumerate(claims))) == numbers
    assert blamed("lock_scope", "held", list(enumerate(claims))) == [0, 1]
