"""Faults to order: each kind, alone and together, and what a store makes of it."""

from __future__ import annotations

import time

import pytest

from exlab_store import (
    BackendUnavailable,
    LockLost,
    LockTimeout,
    Retry,
    StorageFull,
    Store,
    StoreError,
    WriteOutcomeUnknown,
    open_store,
)
from exlab_store.testing.faults import (
    Fault,
    FaultPlan,
    Injected,
    after,
    before,
    delayed,
    lost_answer,
    lost_lock,
    stale,
)


def _store(plan: FaultPlan, retry: Retry | None = None) -> Store:
    return open_store("memory://", observers=[plan], retry=retry)


def _stored(store: Store) -> bytes:
    return store.read_snapshot("a").data


def test_a_call_that_fails_before_has_done_nothing() -> None:
    store = _store(FaultPlan(before("atomic_write", call=2)))
    store.atomic_write("a", b"1")
    with pytest.raises(BackendUnavailable):
        store.atomic_write("a", b"2")
    assert _stored(store) == b"1"


def test_a_call_that_fails_after_has_done_its_work() -> None:
    store = _store(FaultPlan(after("atomic_write", raises=WriteOutcomeUnknown("?", intended=None))))
    with pytest.raises(WriteOutcomeUnknown):
        store.atomic_write("a", b"1")
    assert _stored(store) == b"1"


def test_a_lost_answer_leaves_the_effect_and_gives_the_caller_unavailable() -> None:
    store = _store(FaultPlan(lost_answer("atomic_write")))
    with pytest.raises(BackendUnavailable):
        store.atomic_write("a", b"1")
    assert _stored(store) == b"1"


def test_the_error_is_the_one_that_was_asked_for_with_its_place_added() -> None:
    store = _store(FaultPlan(before("atomic_write", raises=StorageFull("the disk is full"))))
    with pytest.raises(StorageFull, match="a in memory://: the disk is full"):
        store.atomic_write("a", b"1")


def test_one_error_is_raised_for_two_documents_with_the_place_of_each() -> None:
    store = _store(FaultPlan(before("atomic_write", times=2, raises=StorageFull("full"))))
    keys: list[str | None] = []
    for key in ("a", "b"):
        with pytest.raises(StorageFull) as caught:
            store.atomic_write(key, b"1")
        keys.append(caught.value.key)
    assert keys == ["a", "b"]


def test_a_transient_fault_passes() -> None:
    store = _store(FaultPlan(before("atomic_write", times=2)))
    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            store.atomic_write("a", b"1")
    store.atomic_write("a", b"1")


def test_a_fault_for_good_stays() -> None:
    store = _store(FaultPlan(before("atomic_write", call=2, times=None)))
    store.atomic_write("a", b"1")
    for _ in range(5):
        with pytest.raises(BackendUnavailable):
            store.atomic_write("a", b"2")


def test_retries_are_calls_too() -> None:
    plan = FaultPlan(before("atomic_write", times=2))
    store = _store(plan, Retry(attempts=3, wait=0.001, longest_wait=0.001))
    store.atomic_write("a", b"1")
    assert plan.calls("atomic_write") == 3


def test_a_delay_takes_its_time() -> None:
    store = _store(FaultPlan(delayed("atomic_write", seconds=0.05)))
    began = time.perf_counter()
    store.atomic_write("a", b"1")
    assert time.perf_counter() - began >= 0.05


def test_a_lock_that_is_lost_before_the_write_refuses_it() -> None:
    store = _store(FaultPlan(lost_lock()))
    with store.lock("a") as held, pytest.raises(LockLost):
        store.atomic_write("a", b"1", lock=held)
    assert store.list_keys() == []


def test_an_update_under_a_lock_of_the_caller_that_is_lost_writes_nothing() -> None:
    store = _store(FaultPlan(lost_lock(call=2)))
    store.atomic_write("a", b"1")
    with store.lock("a") as held, pytest.raises(LockLost):
        store.update("a", lambda _: b"2", lock=held)
    assert _stored(store) == b"1"


def test_an_update_that_loses_its_own_lock_is_repeated_under_a_new_one() -> None:
    plan = FaultPlan(lost_lock(call=2, times=2))
    store = _store(plan)
    store.atomic_write("a", b"1")
    store.update("a", lambda current: (current or b"") + b"2")
    assert _stored(store) == b"12"
    assert plan.calls("lock") == 3


def test_a_lost_lock_can_be_had_by_others() -> None:
    plan = FaultPlan(lost_lock())
    one = open_store("memory://lost-lock", observers=[plan])
    with open_store("memory://lost-lock") as other, one.lock("a") as held:
        with pytest.raises(LockLost):
            one.atomic_write("a", b"1", lock=held)
        assert other.guarantees.fenced
        assert [fault.effect for fault in plan.injected] == ["lose the lock"]


def test_a_stale_read_gives_the_state_before_the_last_change() -> None:
    store = _store(FaultPlan(stale(call=2)))
    store.atomic_write("a", b"1")
    assert _stored(store) == b"1"
    store.atomic_write("a", b"2")
    assert [_stored(store), _stored(store)] == [b"1", b"2"]


def test_a_stale_read_of_what_never_changed_is_what_it_is() -> None:
    store = _store(FaultPlan(stale()))
    store.atomic_write("a", b"1")
    assert _stored(store) == b"1"


def test_a_compare_and_swap_after_a_stale_read_is_refused() -> None:
    store = _store(FaultPlan(stale()))
    store.atomic_write("a", b"1")
    store.atomic_write("a", b"2")
    with pytest.raises(StoreError, match="changed the document"):
        store.atomic_write("a", b"3", expect=store.read_snapshot("a").version)


def test_a_lock_whose_answer_is_lost_is_not_left_behind() -> None:
    store = _store(FaultPlan(lost_answer("lock")))
    with pytest.raises(BackendUnavailable):
        store.lock("a")
    with store.lock("a", timeout=0):
        pass


def test_a_lock_may_time_out_by_plan() -> None:
    store = _store(FaultPlan(before("lock", raises=LockTimeout("held by another station"))))
    with pytest.raises(LockTimeout, match="another station"):
        store.update("a", lambda _: b"1")


def test_listing_and_deleting_fail_too() -> None:
    store = _store(FaultPlan(before("list_keys"), lost_answer("delete")))
    store.atomic_write("a", b"1")
    with pytest.raises(BackendUnavailable):
        store.list_keys()
    with pytest.raises(BackendUnavailable):
        store.delete("a")
    assert store.list_keys() == []


def test_a_plan_says_what_has_happened() -> None:
    plan = FaultPlan(before("atomic_write", call=2), stale(call=9))
    store = _store(plan)
    store.atomic_write("a", b"1")
    with pytest.raises(BackendUnavailable):
        store.atomic_write("a", b"2")
    assert plan.injected == [Injected("atomic_write", 2, "raise before")]


def _outcomes(seed: int) -> str:
    plan = FaultPlan.seeded(seed, rate=0.3, faults=[before("atomic_write"), lost_answer("atomic_write")])
    store = _store(plan)
    outcomes = ""
    for number in range(100):
        try:
            store.atomic_write("a", b"%d" % number)
        except BackendUnavailable as error:
            outcomes += "b" if "before the request" in str(error) else "a"
        else:
            outcomes += "."
    return outcomes


def test_a_seed_gives_the_same_faults_again() -> None:
    assert _outcomes(1) == _outcomes(1) != _outcomes(2)


def test_a_rate_is_kept_more_or_less() -> None:
    assert 30 <= 100 - _outcomes(3).count(".") <= 70  # 1 - 0.7 * 0.7 of 100


@pytest.mark.parametrize(
    "wrong",
    [{"hook": "atomic_wirte"}, {"call": 0}, {"times": 0}, {"seconds": -1.0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"hook|counted"):
        Fault(**({"effect": "delay", "hook": "lock"} | wrong))  # type: ignore[arg-type]


def test_a_chance_is_between_nought_and_one() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        FaultPlan.seeded(1, rate=2, faults=[])
