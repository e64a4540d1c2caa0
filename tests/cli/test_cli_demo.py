"""``exlab-store demo``: it shows that all is well, and it notices when it is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import COMMAND, done, done_json, environment, refused, run_command
from conftest import lacking

from exlab_store import open_store
from exlab_store.cli.demo import marked

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.one_interpreter

SHORT = ("--seconds", "0.5", "--writers", "3", "--readers", "2")


def test_a_demo_in_a_directory_of_its_own_leaves_nothing(tmp_path: Path) -> None:
    text = done("demo", "--seconds", "1", TMPDIR=str(tmp_path))
    assert text.endswith("\nNothing was torn, and nothing was lost.\n")
    for operation in ("durable write", "lock + update", "catalogue publish", "snapshot read", "Median", "99 %"):
        assert operation in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("Where")) <= 80
    assert list(tmp_path.iterdir()) == []


def test_a_demo_at_a_location_leaves_the_documents_there_alone(tmp_path: Path) -> None:
    (tmp_path / "counter.json").write_text("precious")
    counts = done_json("demo", "--at", ".", *SHORT, cwd=tmp_path)
    assert (counts["torn_reads"], counts["lost_updates"], counts["problems"], counts["sound"]) == (0, 0, [], True)
    assert counts["location"].startswith(f"file://{tmp_path}/exlab-store-demo-")
    assert counts["documents_written"] > counts["increments"] > 0
    assert counts["added_fields"] > 0
    assert counts["reads"] > 0
    for operation in counts["operations"]:
        assert operation.keys() == {"operation", "count", "median_ms", "p99_ms"}
        assert 0 < operation["median_ms"] <= operation["p99_ms"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"counter.json": "precious"}


def test_a_store_that_processes_cannot_share_is_refused() -> None:
    said = refused(2, "demo", "--at", "memory://lab")
    assert "processes cannot share this store: its lock_scope is 'process'" in said
    assert "\nHint: Give a location that several processes reach" in said


@pytest.mark.parametrize(
    ("location", "code"), [("nowhere", 2), ("failing://unavailable", 6), ("failing://denied", 1), ("ftp://x", 2)]
)
def test_a_place_that_cannot_be_used_is_an_error_and_not_a_verdict(tmp_path: Path, location: str, code: int) -> None:
    said = refused(code, "demo", "--at", location, cwd=tmp_path, process=True, with_faulty=True)
    assert said.startswith("Error: ")


def _failed_demo(*arguments: str) -> dict[str, Any]:
    for seconds in "0.5", "4", "20":  # on a busy machine it takes longer until one process comes in another's way
        result = run_command("demo", *SHORT, "--seconds", seconds, "--json", *arguments, with_faulty=True)
        if result.returncode:
            break
    assert result.returncode == 1, result.stderr
    counts = json.loads(result.stdout)
    assert counts["problems"]
    assert not counts["sound"]
    return counts


def test_a_backend_that_writes_in_place_is_found_out(tmp_path: Path) -> None:
    counts = _failed_demo("--at", f"in-place://{tmp_path}")
    assert counts["torn_reads"] > 0
    assert [path for path in tmp_path.rglob("*.json") if path.is_file()] == []


def test_a_backend_that_does_not_lock_is_found_out(tmp_path: Path) -> None:
    counts = _failed_demo("--at", f"lockless://{tmp_path}")
    assert counts["lost_updates"] > 0
    assert counts["torn_reads"] == 0


def _spoiled(folder: Path, spoil: Callable[[int, Path], None], *arguments: str) -> tuple[int, str, str]:
    """A demo that is spoilt, by what is given its process and its documents, once the counter has begun to count."""
    process = subprocess.Popen(
        [*COMMAND, "demo", "--at", str(folder), *SHORT, "--seconds", "0.8", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with process:
        documents = _at_work(folder, process)
        spoil(process.pid, documents)
        said, complained = process.communicate(timeout=60)
    assert list(folder.iterdir()) == []
    return process.returncode, said, complained


def _children(process: int) -> list[int]:
    """In the order in which they were started."""
    if not Path(f"/proc/{process}/task/{process}/children").exists():
        lacking("this system does not list the children of a process in /proc")
    threads = Path(f"/proc/{process}/task").iterdir()
    return sorted(int(child) for thread in threads for child in (thread / "children").read_text().split())


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    # One that nobody has waited for has ended all the same.
    return state not in "ZX"


def _at_work(folder: Path, process: subprocess.Popen[str]) -> Path:
    while process.poll() is None:
        for counter in folder.glob("exlab-store-demo-*/counter.json"):
            if marked.read_counter(counter.read_bytes()).total > 0:
                return counter.parent
        time.sleep(0.002)
    raise AssertionError("the demo ended before anything was counted")


def test_a_rogue_that_overwrites_the_counter_is_found_out(tmp_path: Path) -> None:
    def overwrite(_demo: int, documents: Path) -> None:
        # Under the lock, so that no writer who has read the old one writes it back.
        with open_store(documents) as store, store.lock("counter.json") as held:
            store.atomic_write("counter.json", marked.counted(None, 0), lock=held)

    code, said, complained = _spoiled(tmp_path, overwrite)
    assert (code, complained) == (1, "")
    assert "The demo has failed." in said
    assert "increments, and" in said


def test_a_rogue_that_tears_a_record_is_found_out(tmp_path: Path) -> None:
    def tear(_demo: int, documents: Path) -> None:
        for _ in range(40):
            rogue = tmp_path / "rogue"
            rogue.write_bytes(marked.record(1, 1)[:-100])
            rogue.rename(documents / "record.json")

    code, said, _ = _spoiled(tmp_path, tear, "--json")
    assert code == 1
    assert json.loads(said)["torn_reads"] > 0


def test_a_worker_that_dies_is_reported(tmp_path: Path) -> None:
    def kill(demo: int, _documents: Path) -> None:
        os.kill(_children(demo)[0], signal.SIGKILL)

    code, said, complained = _spoiled(tmp_path, kill)
    assert (code, complained) == (1, "")
    assert "- writer 1 died: ended by SIGKILL." in said


def test_a_demo_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    """The workers end when nobody listens any more; then no lock is held."""
    process = subprocess.Popen(
        [*COMMAND, "demo", "--at", str(tmp_path), "--seconds", "60"], stdout=subprocess.DEVNULL, env=environment()
    )
    with process:
        documents = _at_work(tmp_path, process)
        workers = _children(process.pid)
        process.kill()
    assert len(workers) == 6
    deadline = time.monotonic() + 30
    while any(map(_runs, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with open_store(documents) as store:
        store.lock("counter.json", timeout=0).release()
