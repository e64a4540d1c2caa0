"""Two machines examine one place together, with no connection but the place."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from examined import finding, outcomes, seen
from other_machine import COMMAND, OTHER, Joining, examined_together

from exlab_store import BackendUnavailable, DocumentExists, DocumentNotFound, LocationError, StoreError, open_store
from exlab_store.doctor import Examination, examine, join, visit
from exlab_store.doctor.machines import client, joining
from exlab_store.doctor.machines.codes import Code, new_code
from exlab_store.doctor.machines.messages import LIMIT, PROTOCOL, Invitation
from exlab_store.doctor.machines.names import machine
from exlab_store.doctor.machines.post import Post
from exlab_store.doctor.probes import OF_MACHINES
from exlab_store.doctor.wording import summary

pytestmark = pytest.mark.one_interpreter

_BROKEN = Path(__file__).parents[1] / "testing" / "broken"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    return place


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Examination]:
    place = tmp_path_factory.mktemp("place")
    return place, examined_together(place, only={probe.name for probe in OF_MACHINES})


def test_every_probe_between_two_machines_passes_at_a_sound_place(together: tuple[Path, Examination]) -> None:
    found = outcomes(together[1], 0, 1)
    assert set(found) == {probe.name for probe in OF_MACHINES}
    # The other machine of this test has a name of its own, and this machine's kernel.
    assert found.pop("machines") == "warn"
    assert "both run on one kernel" in finding(together[1], "machines", 0, 1).observed
    assert set(found.values()) == {"pass"}, together[1].findings


def test_the_report_names_the_machines_and_what_was_shown_between_them(together: tuple[Path, Examination]) -> None:
    examination = together[1]
    assert examination.machines == (machine(), OTHER)
    between = {claim.guarantee: claim.between_machines for claim in examination.claims if claim.place == 1}
    assert between["lock_release"] == ("crash",)
    assert between["durable"] == ()
    assert f"Shown between {machine()} and {OTHER}: " in " ".join(summary(examination))


def test_who_is_refused_is_told_on_which_machine_the_lock_is_held(together: tuple[Path, Examination]) -> None:
    observed = finding(together[1], "lock", 0, 1).observed
    assert f" on {machine()} (process " in observed
    assert f" on {OTHER} (process " in observed


def test_nothing_stays_at_the_place(together: tuple[Path, Examination]) -> None:
    assert list(together[0].iterdir()) == []


def test_two_sides_of_one_name_show_nothing_between_machines(place: Path) -> None:
    examination = examined_together(place, only={"crash"}, name=None)
    assert finding(examination, "machines", 0, 1).observed == f"both sides are called {machine()}"
    assert all(claim.between_machines == () for claim in examination.claims)
    assert "Shown between" not in " ".join(summary(examination))


# What a sound place must not be taken for: the other machine is the one that is flawed.


def _flawed(place: Path, flaw: str, probe: str, monkeypatch: pytest.MonkeyPatch) -> Examination:
    monkeypatch.syspath_prepend(str(_BROKEN))
    return examined_together(place, f"flawed://{flaw}{place}", only={probe})


def test_locks_that_do_not_exclude_between_machines_are_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = finding(_flawed(place, "lock-ignores-processes", "lock", monkeypatch), "lock", 0, 1)
    assert (found.outcome, found.observed) == ("fail", "two clients held one lock at the same time")
    assert "`nobrl`" in found.advice


def test_a_lock_of_a_host_that_does_not_exclude_between_machines_breaks_no_claim(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examination = _flawed(place, "lock-ignores-processes", "lock", monkeypatch)
    assert (seen(examination, 0)["lock_scope"], seen(examination, 1)["lock_scope"]) == ("held", "not tested")


def test_reads_that_are_stale_on_the_other_machine_are_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = finding(_flawed(place, "stale-read-at-times", "fresh", monkeypatch), "fresh", 0, 1)
    assert found.outcome == "fail"
    assert "older" in found.observed
    assert "Something caches" in found.advice


# Ends


def test_a_machine_that_never_comes_ends_the_examination_with_a_sentence(place: Path) -> None:
    codes: list[str] = []
    with pytest.raises(BackendUnavailable, match="no other machine has joined within 1 s"):
        examine([str(place)], seconds=0.05, only={"crash"}, invited=codes.append, wait=1)
    assert len(codes) == 1
    assert list(place.iterdir()) == []


def test_two_locations_cannot_be_examined_with_another_machine(place: Path) -> None:
    with pytest.raises(LocationError, match="one location"):
        examine([str(place), str(place)], invited=lambda code: None)


def _await(place: Path, pattern: str) -> None:
    end = time.monotonic() + 60
    while not list(place.glob(pattern)):
        assert time.monotonic() < end
        time.sleep(0.005)


def _strike(other: Joining, place: Path, number: signal.Signals) -> threading.Thread:
    """Sends the other machine's command a signal, in the middle of what it does for this one."""

    def strike() -> None:
        assert other.running.wait(60)
        assert other.process is not None
        _await(place, "exlab-store-doctor-*/machines/replace.json")
        other.process.send_signal(number)

    striking = threading.Thread(target=strike)
    striking.start()
    return striking


def test_another_machine_that_is_interrupted_ends_both(place: Path) -> None:
    other = Joining(place)
    striking = _strike(other, place, signal.SIGTERM)
    with pytest.raises(StoreError, match=f"the examination was ended on {OTHER}: it was interrupted"):
        examine([str(place)], seconds=2, only={"replace"}, invited=other)
    striking.join()
    assert other.ended()[0] == 128 + signal.SIGTERM
    assert list(place.iterdir()) == []


def test_another_machine_that_is_killed_ends_the_examination(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_JOURNEY", 1.0)
    monkeypatch.setattr(visit, "_PATIENCE", 1.0)
    other = Joining(place)
    striking = _strike(other, place, signal.SIGKILL)
    with pytest.raises(BackendUnavailable, match=f"{OTHER} has said nothing for 4 s"):
        examine([str(place)], seconds=2, only={"replace"}, invited=other)
    striking.join()
    other.ended()
    assert list(place.iterdir()) == []


def test_an_examination_that_is_interrupted_ends_on_the_other_machine(place: Path) -> None:
    command = [*COMMAND, str(place), "--invite", "--only", "replace", "--seconds", "2", "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as inviting:
        assert inviting.stderr is not None
        other = Joining(place)
        other(json.loads(inviting.stderr.readline())["invitation"]["code"])
        _await(place, "exlab-store-doctor-*/machines/replace.json")
        inviting.terminate()
        assert inviting.wait(60) == 128 + signal.SIGTERM
    code, said, complained = other.ended()
    assert (code, said) == (1, "")
    assert f"the examination was ended on {machine()}: it was interrupted." in complained
    assert list(place.iterdir()) == []


# What the side that joins meets


@pytest.fixture
def code(place: Path) -> Code:
    """The code of an examination that has invited, and says nothing any more."""
    code = new_code()
    post = Post(str(place), None, code, "inviting")
    post.write(Invitation(number=0, protocol=PROTOCOL, machine="alpha", kernel="", seconds=0.05))
    post.close()
    return code


def test_an_examination_that_says_nothing_any_more_is_left_and_cleared_up(
    place: Path, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "_SILENCE", 0.5)
    with pytest.raises(BackendUnavailable, match="alpha has said nothing for 1 s"):
        join(str(place), code.text)
    assert list(place.iterdir()) == []


def test_only_one_machine_joins(place: Path, code: Code) -> None:
    with open_store(place) as store:
        store.atomic_write(f"{code.folder}/messages/seat.json", b"{}")
    with pytest.raises(DocumentExists, match="another machine has joined this examination of alpha"):
        join(str(place), code.text)


def test_an_examination_of_another_version_is_not_joined(place: Path) -> None:
    code = new_code()
    post = Post(str(place), None, code, "inviting")
    post.write(Invitation(number=0, protocol=PROTOCOL + 1, machine="alpha", kernel="", seconds=0.05))
    post.close()
    with pytest.raises(StoreError, match="alpha runs a version of exlab-store whose examinations"):
        join(str(place), code.text)


def test_a_code_of_no_examination_here_is_not_found_and_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "_FINDING", 0.1)
    with pytest.raises(DocumentNotFound, match="no examination with this code is under way here"):
        join(str(place), new_code().text)
    assert list(place.iterdir()) == []


def test_a_name_of_a_machine_cannot_drive_a_terminal(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "_SILENCE", 0.1)
    code = new_code()
    post = Post(str(place), None, code, "inviting")
    post.write(Invitation(number=0, protocol=PROTOCOL, machine="al\x1b[2Jpha", kernel="", seconds=0.05))
    post.close()
    with pytest.raises(BackendUnavailable) as caught:
        join(str(place), code.text)
    assert caught.value.message.startswith("al\\x1b[2Jpha has said nothing")


def _planted(place: Path, size: int) -> Code:
    """A code whose invitation is a file of zeros; it takes no room on a disk."""
    code = new_code()
    file = place / code.folder / "messages" / "inviting.json"
    file.parent.mkdir(parents=True)
    with file.open("wb") as planted:
        planted.truncate(size)
    return code


def test_a_document_that_is_too_long_for_a_message_is_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "_FINDING", 0.1)
    with pytest.raises(DocumentNotFound, match="no examination with this code is under way here"):
        join(str(place), _planted(place, LIMIT + 1).text)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound the memory of a process")
def test_a_document_that_is_far_too_long_is_not_read(place: Path) -> None:
    with pytest.raises(StoreError, match="not enough memory for the document"):
        join(str(place), _planted(place, 1 << 30).text)
