"""The doctor at shares of a real Samba server, with good settings and with bad ones."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from examined import BRIEF, finding, on_a_disk, outcomes, seen
from other_machine import examined_together
from shared_samba import BOTH, release_folder
from standing_still import standing_still

from exlab_store.doctor import examine

if TYPE_CHECKING:
    from samba_server import SambaServer

    from exlab_store.doctor import Examination

pytestmark = pytest.mark.one_interpreter

COMMAND = [sys.executable, "-m", "exlab_store.cli", "doctor"]
SHORT = ["--seconds", str(BRIEF)]


@pytest.fixture(scope="module", params=BOTH)
def server(request: pytest.FixtureRequest) -> Iterator[SambaServer]:
    """One server for all of this module, on a disk, with a share for each kind of setting."""
    release = release_folder(request.param)
    from samba_server import SambaServer

    with on_a_disk() as directory, SambaServer(directory / "server", release=release) as running:
        shares: dict[str, dict[str, str]] = {
            "lockless": {"locking": "no"},
            "lax": {"strict_sync": "no"},
            "fixed": {"read_only": "yes"},
            "veiled": {"veto_files": "/.*/"},
        }
        for name, settings in shares.items():
            running.add_share(name, running.directory / name, **settings)
        yield running


def url(server: SambaServer, share: str | None = None) -> str:
    return server.url(share=share, password=True)


def run_doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments, *SHORT], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def directory_and_share(server: SambaServer, tmp_path_factory: pytest.TempPathFactory) -> Examination:
    """One examination of a directory, with a document in it, and of the share that exports it, by its name."""
    (server.root / "precious.json").write_text("before")
    secret = tmp_path_factory.mktemp("config") / "secret"
    secret.write_text(server.password)
    secret.chmod(0o600)
    config = secret.with_name("exlab-store.toml")
    config.write_text(
        f'[stores.nas]\nurl = "{server.url(user=False)}"\nusername = "{server.user}"\n'
        f'password = {{ file = "{secret}" }}\n'
    )
    examination = examine([str(server.root), "@nas"], config=str(config), seconds=BRIEF)
    assert [path.name for path in server.root.iterdir()] == ["precious.json"]
    assert (server.root / "precious.json").read_text() == "before"
    assert server.password not in repr(examination)
    return examination


def test_a_local_directory_passes_every_probe(directory_and_share: Examination) -> None:
    assert set(outcomes(directory_and_share, 0).values()) == {"pass"}, directory_and_share.findings
    assert directory_and_share.places[0].guarantees.lock_scope == "host"
    assert set(seen(directory_and_share, 0).values()) == {"held", "plausible"}


def test_a_share_with_good_settings_passes_every_probe_and_its_locks_are_the_site_s(
    server: SambaServer, directory_and_share: Examination
) -> None:
    found = outcomes(directory_and_share, 1)
    if server.version >= (4, 22):
        assert found.pop("held-open") == "warn"
        assert "Windows-like" in finding(directory_and_share, "held-open", 1).observed
    # What has no path here is not seen from here.
    assert [found.pop(probe) for probe in ("mount", "permissions")] == ["not applicable"] * 2
    assert set(found.values()) == {"pass"}, directory_and_share.findings
    assert directory_and_share.places[1].guarantees.lock_scope == "site"
    assert seen(directory_and_share, 1) == {
        "atomic_replace": "held",
        "durable": "plausible",
        "conditional_write": "held",
        "lock_scope": "held",
        "lock_release": "held",
        "fenced": "held",
        "lists": "held",
        "deletes": "held",
        "fresh": "held",
        "watch": "held",
    }
    assert "its connection was cut" in finding(directory_and_share, "fence", 1).observed


def test_a_directory_and_the_share_that_exports_it_are_one_storage_and_exclude_each_other(
    directory_and_share: Examination,
) -> None:
    probes = ("same", "replace", "lock", "wait", "swap", "fresh")
    assert outcomes(directory_and_share, 0, 1) == dict.fromkeys(probes, "pass"), directory_and_share.findings


def test_nothing_of_an_examination_stays(directory_and_share: Examination) -> None:
    assert [place.remains for place in directory_and_share.places] == ["", ""]


def test_without_locking_no_lock_is_claimed_and_the_setting_to_change_is_named(server: SambaServer) -> None:
    directory = server.directory / "lockless"
    done = run_doctor(str(directory), url(server, "lockless"), "--only", "lock", "--only", "crash", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    of_share, of_pair = (
        {each["probe"]: each for each in answer["findings"] if len(each["places"]) == number and "smb" in str(each)}
        for number in (1, 2)
    )
    assert (of_share["lock"]["outcome"], of_pair["lock"]["outcome"]) == ("warn", "warn")
    assert "`locking = yes`" in of_share["lock"]["advice"]
    assert of_share["crash"]["outcome"] == "not applicable"
    scopes = [(each["claimed"], each["seen"]) for each in answer["claims"] if each["guarantee"] == "lock_scope"]
    assert scopes == [("host", "held"), ("none", "not claimed")]
    assert server.password not in done.stdout + done.stderr
    assert list(directory.iterdir()) == []


def test_without_strict_sync_the_flush_is_a_warning_and_no_more(server: SambaServer) -> None:
    for _ in range(30):  # a busy machine may make each flush of a run as long as a disk's
        done = run_doctor(url(server, "lax"), "--only", "flush", "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        [flush] = [each for each in answer["findings"] if each["probe"] == "flush"]
        if flush["outcome"] == "warn":
            break
    assert flush["outcome"] == "warn"
    assert "`strict sync = yes`" in flush["advice"]
    assert "a sign only" in flush["observed"]
    [durable] = [each for each in answer["claims"] if each["guarantee"] == "durable"]
    assert (durable["claimed"], durable["seen"]) == (True, "doubtful")
    assert answer["sound"] is True


def _showing(server: SambaServer) -> Iterator[str]:
    """Processes whose arguments or environment anybody on the machine can read the password in."""
    for process in Path("/proc").iterdir():
        for name in ("cmdline", "environ") if process.name.isdigit() else ():
            with suppress(OSError):
                if server.password.encode() in (process / name).read_bytes():
                    yield f"{process.name} {name}"


def test_a_read_only_share_fails_and_nothing_is_said_of_what_needs_writing(server: SambaServer) -> None:
    shown: list[str] = []
    examination = examine([url(server, "fixed")], seconds=BRIEF, progress=lambda *_: shown.extend(_showing(server)))
    assert shown == []
    found = outcomes(examination)
    assert found.pop("reach") == "fail"
    assert found.pop("leftovers") == "pass"
    assert set(found.values()) == {"not applicable"}
    assert "`read only = no`" in finding(examination, "reach").advice
    assert examination.broken == ()
    assert set(seen(examination).values()) == {"not tested"}


def test_a_full_share_fails_for_want_of_room(samba: SambaServer, needs_root: None) -> None:
    volume = samba.directory / "volume"
    samba.add_share("volume", volume)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0777,size=2m", "none", str(volume)], check=True)
    try:
        with (volume / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        examination = examine([url(samba, "volume")], seconds=BRIEF)
        assert [path.name for path in volume.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", "--lazy", str(volume)], check=True)  # clients of the server stand in it
    assert [each.probe for each in examination.failed] == ["reach", "space"]
    assert "Free some room" in finding(examination, "space").advice
    assert examination.broken == ()


@pytest.mark.slow
def test_a_share_that_hides_names_is_a_warning_that_says_so(server: SambaServer) -> None:
    examination = examine([url(server, "veiled")], seconds=BRIEF, only={"names"})
    found = finding(examination, "names")
    assert found.outcome == "warn"
    assert "a leading dot" in found.observed
    assert "`veto files`" in found.advice


def test_a_server_that_stops_in_the_middle_is_one_clear_error_and_exit_code_6(samba: SambaServer) -> None:
    process = subprocess.Popen(
        [*COMMAND, url(samba), *SHORT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        while not list(samba.root.glob("exlab-store-doctor-*/1/exclusion.json.lock")):
            assert process.poll() is None
            time.sleep(0.002)
        samba.stop()
        said, complained = process.communicate(timeout=60)
    assert process.returncode == 6, complained
    assert said == ""
    error, hint = complained.splitlines()
    place = f"smb://lab:***@127.0.0.1:{samba.port}/lab"
    assert error.startswith(f"Error: {place}: the place went away while it was examined")
    assert hint.startswith("Hint: See why, and try again. The folder exlab-store-doctor-")
    assert samba.password not in complained


@pytest.mark.slow
def test_a_server_that_freezes_in_the_middle_is_an_error_in_reasonable_time(samba: SambaServer) -> None:
    process = subprocess.Popen(
        [*COMMAND, url(samba), *SHORT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert samba._process is not None
    with process:
        while not list(samba.root.glob("exlab-store-doctor-*/1/exclusion.json.lock")):
            assert process.poll() is None
            time.sleep(0.002)
        with standing_still(samba._process.pid):
            began = time.monotonic()
            said, complained = process.communicate(timeout=90)
    assert time.monotonic() - began < 60
    assert (process.returncode, said) == (6, "")
    assert "the place went away while it was examined" in complained


def test_a_server_that_is_not_there_is_exit_code_6(samba: SambaServer) -> None:
    location = url(samba)
    samba.stop()
    done = run_doctor(location)
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.startswith("Error: smb://lab:***@")


@pytest.mark.slow
def test_two_machines_at_a_share_exclude_and_fence_each_other(server: SambaServer) -> None:
    examination = examined_together(url(server), only={"lock", "crash", "fence", "swap", "fresh"})
    found = outcomes(examination, 0, 1)
    assert found.pop("machines") == "warn"  # one kernel
    assert set(found.values()) == {"pass"}, examination.findings
    between = {claim.guarantee: claim.between_machines for claim in examination.claims if claim.place == 0}
    assert between["lock_scope"] == ("lock",)
    assert between["fenced"] == ("fence",)
    assert "its connection was cut" in finding(examination, "fence", 0, 1).observed
    assert not list(server.root.glob("exlab-store-doctor-*"))


def test_a_share_and_its_directory_are_examined_by_two_machines(server: SambaServer) -> None:
    examination = examined_together(str(server.root), url(server), only={"lock"})
    assert outcomes(examination, 0, 1) == {"machines": "warn", "lock": "pass"}
    assert not list(server.root.glob("exlab-store-doctor-*"))
