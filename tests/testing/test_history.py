"""The linearizability checker finds what it should, and accepts what it must."""

from __future__ import annotations

import random
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exlab_store import ABSENT, DocumentNotFound, Expectation, Store, VersionConflict
from exlab_store.testing.history import Operation, Recorder, check


def _read(called: int, returned: int, found: str | None, client: str = "r") -> Operation:
    return Operation(client, "read", called, returned, found=found)


def _write(called: int, returned: int | None, new: str, client: str = "w") -> Operation:
    return Operation(client, "write", called, returned, new=new)


def _swap(called: int, returned: int | None, expected: str | None, new: str, *, done: bool = True) -> Operation:
    return Operation(f"c{new}", "cas", called, returned, expected=expected, new=new, succeeded=done)


def test_nothing_is_linearizable() -> None:
    assert check([]) is None


def test_one_after_the_other_is() -> None:
    assert (
        check([_read(0, 1, None), _write(2, 3, "a"), _read(4, 5, "a"), _swap(6, 7, "a", "b"), _read(8, 9, "b")]) is None
    )


def test_what_was_there_before_may_be_read() -> None:
    assert check([_read(0, 1, "old")], initial="old") is None


def test_reads_beside_a_write_may_see_either() -> None:
    assert check([_write(0, 10, "a"), _read(1, 2, None), _read(3, 4, "a", "s")]) is None


def test_a_stale_read_is_found() -> None:
    violation = check([_write(0, 1, "a"), _write(2, 3, "b"), _read(4, 5, "a")])
    assert violation is not None
    assert violation.operation.kind == "read"


def test_two_reads_that_see_a_write_come_and_go_are_found() -> None:
    assert check([_write(0, 10, "a"), _read(1, 2, "a"), _read(3, 4, None, "s")]) is not None


def test_a_lost_update_is_found() -> None:
    assert check([_swap(0, 5, None, "a"), _swap(1, 6, None, "b")]) is not None


def test_a_value_out_of_nowhere_is_found() -> None:
    assert check([_read(0, 1, "never written")]) is not None


def test_a_refusal_without_a_reason_is_found() -> None:
    assert check([_write(0, 1, "a"), _swap(2, 3, "a", "b", done=False)]) is not None


def test_an_unknown_write_may_have_happened() -> None:
    assert check([_write(0, None, "a"), _read(5, 6, "a")]) is None


def test_an_unknown_write_may_not_have_happened() -> None:
    assert check([_write(0, None, "a"), _read(5, 6, None)]) is None


def test_an_unknown_write_may_happen_late() -> None:
    assert check([_write(0, None, "a"), _read(5, 6, None), _read(7, 8, "a")]) is None


def test_an_unknown_write_happens_at_most_once() -> None:
    late = [_write(0, None, "a"), _read(5, 6, "a"), _write(7, 8, "b", "x"), _read(9, 10, "a")]
    assert check(late) is not None


def test_an_unknown_write_that_nobody_saw_may_be_why_another_was_refused() -> None:
    assert check([_write(0, None, "a"), _swap(5, 6, None, "b", done=False)]) is None


def test_a_violation_says_what_cannot_be_explained() -> None:
    assert "nothing explains Operation(client='r'" in str(check([_write(0, 1, "a"), _read(2, 3, None)]))


def _honest(count: int, seed: int) -> list[Operation]:
    """A history that is linearizable by construction: six clients, one of a hundred outcomes unknown."""
    chance = random.Random(seed)
    state: str | None = None
    operations: list[Operation] = []
    waiting = [(chance.random(), f"c{client}") for client in range(6)]
    effects: list[tuple[float, float, float, str]] = []
    while len(effects) < count:
        moment, client = min(waiting)
        waiting.remove((moment, client))
        at, end = moment + chance.random(), moment + 1 + chance.random()
        effects.append((at, moment, end, client))
        waiting.append((end + chance.random(), client))
    for number, (_, called, ended, client) in enumerate(sorted(effects)):
        begin, end = int(called * 1e6), int(ended * 1e6)
        returned = None if chance.random() < 0.01 else end
        kind = chance.choice(["read", "write", "swap", "refused", "delete"])
        if kind == "read":
            operations.append(_read(begin, end, state, client))
        elif kind == "write":
            operations.append(_write(begin, returned, f"v{number}", client))
            state = f"v{number}"
        elif kind == "delete":
            operations.append(Operation(client, "delete", begin, end, succeeded=state is not None))
            state = None
        elif kind == "swap":
            operations.append(Operation(client, "cas", begin, returned, expected=state, new=f"v{number}"))
            state = f"v{number}"
        else:
            operations.append(Operation(client, "cas", begin, end, expected="other", new=f"v{number}", succeeded=False))
    return operations


def _delete(called: int, returned: int | None, *, done: bool = True) -> Operation:
    return Operation("d", "delete", called, returned, succeeded=done)


def test_a_deletion_takes_away_what_was_there() -> None:
    assert check([_write(0, 1, "a"), _delete(2, 3), _read(4, 5, None), _delete(6, 7, done=False)]) is None


def test_a_deletion_of_what_is_not_there_is_found() -> None:
    assert check([_write(0, 1, "a"), _delete(2, 3), _delete(4, 5)]) is not None


def test_a_deletion_that_overlooks_a_document_is_found() -> None:
    assert check([_write(0, 1, "a"), _delete(2, 3, done=False)]) is not None


def test_a_deleted_document_that_is_back_is_found() -> None:
    assert check([_write(0, 1, "a"), _delete(2, 3), _read(4, 5, "a")]) is not None


def test_a_write_that_goes_with_the_document_before_it_is_found() -> None:
    """The pending deletion of one document takes the next one."""
    assert check([_write(0, 1, "a"), _delete(2, 3), _write(4, 5, "b"), _read(6, 7, None)]) is not None


def test_a_write_that_went_elsewhere_is_found() -> None:
    assert check([_write(0, 1, "a"), _write(2, 3, "b"), _read(4, 5, "a")]) is not None
    assert check([_write(0, 1, "b"), _read(2, 3, None)]) is not None


def test_an_unknown_deletion_may_have_happened_or_not() -> None:
    assert check([_write(0, 1, "a"), _delete(2, None), _read(3, 4, "a"), _read(5, 6, None)]) is None
    assert check([_write(0, 1, "a"), _delete(2, None), _read(3, 4, "a")]) is None
    assert check([_write(0, 1, "a"), _delete(2, None), _read(3, 4, None), _read(5, 6, "a")]) is not None


def test_an_unknown_write_may_be_what_was_deleted() -> None:
    assert check([_write(0, None, "a"), _delete(2, 3)]) is None
    assert check([_write(0, None, "a"), _delete(2, 3), _delete(4, 5)]) is not None


@given(st.integers(), st.integers(1, 60))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_an_honest_history_is_accepted(seed: int, count: int) -> None:
    assert check(_honest(count, seed)) is None


@given(st.integers())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_planted_stale_read_is_found_in_a_long_history(seed: int) -> None:
    operations = _honest(400, seed)
    late = [number for number, one in enumerate(operations) if one.kind == "read" and number > 200]
    early = [one.new for one in operations[:100] if one.kind == "write" and one.returned is not None]
    if late and early:
        target = operations[late[0]]
        operations[late[0]] = _read(target.called, target.returned or 0, early[0], target.client)
        assert check(operations) is not None


def test_ten_thousand_operations_take_about_a_tenth_of_a_second() -> None:
    operations = _honest(10_000, 7)
    began = time.process_time()
    assert check(operations) is None
    assert time.process_time() - began < 10  # a search that goes wrong takes hours, not seconds


def test_a_recorder_shows_that_a_store_is_linearizable(store: Store) -> None:
    recorder = Recorder()

    def work(name: str) -> None:
        for number in range(60):
            with recorder.operation(name, "read") as entry:
                expect: Expectation = ABSENT
                try:
                    snapshot = store.read_snapshot("a")
                    entry.found, expect = snapshot.data.decode(), snapshot.version
                except DocumentNotFound:
                    entry.found = None
            new = f"{name} {number}"
            with recorder.operation(name, "cas", expected=entry.found, new=new) as swap:
                try:
                    store.atomic_write("a", new.encode(), expect=expect)
                except VersionConflict:
                    swap.succeeded = False

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(recorder.operations) == 4 * 60 * 2
    assert check(recorder.operations) is None


def test_a_block_that_raises_records_nothing() -> None:
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError), recorder.operation("a", "read"):
        raise ZeroDivisionError
    assert recorder.operations == []
