"""A fault at every system call of an operation: the process is killed there, or the call fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import lacking
from crash_programs import NEW, OLD

from exlab_store import LockTimeout, open_store
from exlab_store.testing.crash import Call, CannotTest, Fault, Outcome, Program, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.one_interpreter

FILE = Path(__file__).with_name("crash_programs.py")
DEEP = "lab/rack/shelf/a.json"
OPERATIONS = {
    "update": ("a.json", OLD, NEW),
    "atomic_write": ("a.json", OLD, NEW),
    "first_write": (DEEP, None, NEW),
    "delete": ("a.json", OLD, None),
    "lock": ("a.json", OLD, OLD),
}


class Matrix:
    """One operation with each fault at each of its calls, on as many processes as there are cores to use."""

    def __init__(self, tmp_path: Path, operation: str, key: str, old: bytes | None, new: bytes | None) -> None:
        self.key, self.old, self.new = key, old, new
        self._operation = operation
        self._places = (tmp_path / str(number) for number in count())
        self.outcomes: list[Outcome] = []

    def place(self) -> Path:
        place = next(self._places)
        place.mkdir(parents=True)
        if self.old is not None:
            (place / self.key).write_bytes(self.old)
        return place

    def problems(self, fault: Fault) -> list[str]:
        """What is wrong after each of the faults; empty if every promise is kept."""
        program = Program(FILE, self._operation)
        try:
            with Stage(program) as one, Stage(program) as two:
                calls = [call for call in one.calls(self.place()) if call.takes(fault)]
                cases = [(call, self.place()) for call in calls]
                with ThreadPoolExecutor(2) as pool:
                    found = pool.map(
                        lambda half: list(self._half(half[0], half[1], fault)), ((one, cases[::2]), (two, cases[1::2]))
                    )
                    problems = [problem for half in found for problem in half]
        except CannotTest as reason:
            lacking(str(reason))
        assert len(self.outcomes) == len(calls) >= 3
        return problems

    def _half(self, stage: Stage, cases: list[tuple[Call, Path]], fault: Fault) -> Iterator[str]:
        for call, place in cases:
            held: list[str] = []
            outcome = stage.run(place, call, fault, lambda place=place, held=held: held.extend(self._held(place)))
            self.outcomes.append(outcome)
            for problem in held + list(self._wrong(outcome, place)):
                yield f"{fault.name} at {call.text}: {problem} ({outcome})"

    def _held(self, place: Path) -> Iterator[str]:
        with open_store(place) as store:
            try:
                store.lock(self.key, timeout=0).release()
            except LockTimeout:
                yield "the lock is held"

    def _wrong(self, outcome: Outcome, place: Path) -> Iterator[str]:
        path = place / self.key
        found = path.read_bytes() if path.exists() else None
        if found not in (self.old, self.new):
            yield "torn"
        elif outcome.acknowledged and found != self.new:
            yield "acknowledged, and not there"
        elif outcome.error and outcome.code != "write_outcome_unknown" and found != self.old:
            yield "failed, and yet there"
        if outcome.error and not outcome.code.islower():
            yield "not an error of the store"
        if not outcome.killed and any(".tmp." in path.name for path in place.rglob("*")):
            yield "a temporary file is left"
        yield from self._held(place)
        with open_store(place) as store:
            store.update(self.key, lambda current: b"next")
            if store.read_snapshot(self.key).data != b"next":
                yield "the next update fails"


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_fault_at_any_system_call_breaks_no_promise(tmp_path: Path, operation: str, fault: Fault) -> None:
    """Whole; there if acknowledged; not there if failed, or unknown; no temporary file; and the lock is free."""
    matrix = Matrix(tmp_path, operation, *OPERATIONS[operation])
    assert matrix.problems(fault) == []
    if fault is Fault.KILL:
        assert all(outcome.killed for outcome in matrix.outcomes)


def test_it_does_not_matter_how_much_memory_a_process_asks_for(tmp_path: Path) -> None:
    """Another process of the program may make fewer such calls, and then a kill at the last of them never comes."""
    calls: list[list[str]] = []
    for operation in "update", "update_with_much_memory":
        matrix = Matrix(tmp_path / operation, operation, *OPERATIONS["update"])
        try:
            with Stage(Program(FILE, operation)) as stage:
                calls.append([call.name for call in stage.calls(matrix.place())])
        except CannotTest as reason:
            lacking(str(reason))
    assert calls[0] == calls[1]


@pytest.mark.parametrize(
    ("operation", "fault", "problem"),
    [
        ("in_place", Fault.KILL, "torn"),
        ("in_place", Fault.ENOSPC, "torn"),
        ("leaves_its_temporary_file", Fault.EIO, "a temporary file is left"),
        ("leaves_its_temporary_file", Fault.EIO, "failed, and yet there"),
        ("leaves_its_temporary_file", Fault.EIO, "not an error of the store"),
        ("acknowledges_what_failed", Fault.EIO, "acknowledged, and not there"),
    ],
)
def test_a_writer_that_is_wrong_is_found_out(tmp_path: Path, operation: str, fault: Fault, problem: str) -> None:
    problems = Matrix(tmp_path, operation, "a.json", OLD, NEW).problems(fault)
    assert any(problem in found for found in problems)


def test_a_lock_that_is_held_is_seen_to_be_held(tmp_path: Path) -> None:
    problems = Matrix(tmp_path, "hold_the_lock", "a.json", OLD, OLD).problems(Fault.ENOSPC)
    assert any("the lock is held" in problem for problem in problems)


@pytest.mark.slow
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
def test_nor_does_one_in_the_first_update_in_new_folders(tmp_path: Path, fault: Fault) -> None:
    assert Matrix(tmp_path, "first_update", DEEP, None, NEW).problems(fault) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.EIO, Fault.ENOSPC], ids=lambda fault: fault.name)
def test_with_retries_too_a_fault_breaks_no_promise(tmp_path: Path, fault: Fault) -> None:
    matrix = Matrix(tmp_path, "update_with_retries", "a.json", OLD, NEW)
    assert matrix.problems(fault) == []


def test_a_close_that_fails_after_reading_is_no_fault_of_the_plugin(tmp_path: Path) -> None:
    matrix = Matrix(tmp_path, "update", "a.json", OLD, NEW)
    matrix.problems(Fault.EIO)
    assert "plugin_error" not in {outcome.code for outcome in matrix.outcomes}
