"""What the register does; the same before and after the move."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import run_register as register


def test_a_run_is_read_as_it_was_started(tmp_path):
    register.start(tmp_path, "run-1", "ada")
    assert register.read(tmp_path, "run-1") == {"operator": "ada", "state": "running", "notes": []}


def test_a_run_that_nobody_has_started_is_none(tmp_path):
    assert register.read(tmp_path, "run-1") is None


def test_a_run_is_started_once(tmp_path):
    register.start(tmp_path, "run-1", "ada")
    with pytest.raises(register.RunTaken):
        register.start(tmp_path, "run-1", "grace")
    assert register.read(tmp_path, "run-1")["operator"] == "ada"


def test_of_many_who_start_a_run_one_does(tmp_path):
    begin = threading.Barrier(8)

    def start(operator):
        begin.wait()
        try:
            register.start(tmp_path, "run-1", operator)
        except register.RunTaken:
            return None
        return operator

    with ThreadPoolExecutor(8) as threads:
        (winner,) = [operator for operator in threads.map(start, "abcdefgh") if operator is not None]
    assert register.read(tmp_path, "run-1")["operator"] == winner


def test_no_note_is_lost(tmp_path):
    register.start(tmp_path, "run-1", "ada")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: register.add_note(tmp_path, "run-1", str(number)), range(40)))
    assert sorted(register.read(tmp_path, "run-1")["notes"], key=int) == [str(number) for number in range(40)]


def test_a_run_that_is_finished_says_so(tmp_path):
    register.start(tmp_path, "run-1", "ada")
    register.finish(tmp_path, "run-1")
    assert register.read(tmp_path, "run-1")["state"] == "finished"


def test_a_note_to_a_run_that_nobody_has_started_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        register.add_note(tmp_path, "run-1", "too early")


def test_the_runs_are_listed_in_order_whatever_else_lies_there(tmp_path):
    for name in ("run-2", "run-1"):
        register.start(tmp_path, name, "ada")
    (tmp_path / "run-1" / "picture.tif").write_bytes(b"x" * 1000)
    (tmp_path / "run-3").mkdir()
    assert register.runs(tmp_path) == ["run-1", "run-2"]


def test_a_run_that_was_removed_may_be_started_anew(tmp_path):
    register.start(tmp_path, "run-1", "ada")
    register.add_note(tmp_path, "run-1", "wrong sample")
    register.remove(tmp_path, "run-1")
    assert register.runs(tmp_path) == []
    register.start(tmp_path, "run-1", "grace")
    assert register.read(tmp_path, "run-1")["operator"] == "grace"
