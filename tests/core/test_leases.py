"""Locks that end with time: what the holder knows of its lease, and when others may take the lock over."""

from __future__ import annotations

import os
import threading
import time

import pytest
from waiting import eventually

from exlab_store.backend import BackendUnavailable, Lease, LockLost, Silence


class Storage:
    """What a lease is renewed at."""

    def __init__(self) -> None:
        self.renewals = 0
        self.failure: Exception | None = None

    def renew(self) -> None:
        self.renewals += 1
        if self.failure is not None:
            raise self.failure


def test_a_lease_is_renewed_until_it_ends() -> None:
    storage = Storage()
    lease = Lease(0.3, storage.renew, Lease.now())
    eventually(lambda: storage.renewals >= 3)
    lease.end()
    with pytest.raises(LockLost, match="released"):
        lease.ensure_lasting()


def test_a_lease_that_is_renewed_lasts_longer_than_its_duration() -> None:
    lease = Lease(30.0, Storage().renew, Lease.now())
    lease.ensure_lasting()
    assert lease.lasts
    lease.end()
    assert not lease.lasts


def test_a_renewal_that_finds_somebody_else_loses_the_lease_at_once() -> None:
    storage = Storage()
    storage.failure = LockLost("taken")
    lease = Lease(0.6, storage.renew, Lease.now())
    eventually(lambda: not lease.lasts)
    with pytest.raises(LockLost, match="taken"):
        lease.ensure_lasting()
    assert storage.renewals == 1


def test_a_renewal_that_fails_is_tried_again_until_the_time_is_over() -> None:
    storage = Storage()
    storage.failure = BackendUnavailable("away")
    lease = Lease(0.6, storage.renew, Lease.now())
    eventually(lambda: not lease.lasts)
    with pytest.raises(LockLost, match=r"could not be prolonged for 0\.6 s"):
        lease.ensure_lasting()
    assert storage.renewals > 1


def test_a_renewal_that_hangs_does_not_prolong_the_lease() -> None:
    answered = threading.Event()

    def renew() -> None:
        answered.wait(30)

    lease = Lease(0.3, renew, Lease.now())
    eventually(lambda: not lease.lasts)
    answered.set()
    lease.end()


def test_a_lease_is_counted_from_before_the_lock_was_asked_for() -> None:
    lease = Lease(10.0, Storage().renew, Lease.now() - 11)
    assert not lease.lasts
    lease.end()


def test_a_lease_without_a_thread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(BackendUnavailable, match="no thread"):
        Lease(10.0, Storage().renew, Lease.now())


def test_a_lease_that_has_ended_keeps_no_thread() -> None:
    before = threading.active_count()
    leases = [Lease(30.0, Storage().renew, Lease.now()) for _ in range(5)]
    for lease in leases:
        lease.end()
    eventually(lambda: threading.active_count() <= before)


def test_a_holder_that_gives_signs_of_life_is_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    silence = Silence()
    for beat in range(20):
        assert not silence.outlasts(beat, 10.0)
        now += 9.0


def test_a_holder_is_silent_when_more_than_its_lease_has_passed_since_the_first_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    silence = Silence()
    assert not silence.outlasts("mark", 10.0)
    now = 110.5  # the clocks of two machines may differ in their rates
    assert not silence.outlasts("mark", 10.0)
    now = 111.5
    assert silence.outlasts("mark", 10.0)
    assert not silence.outlasts("another", 10.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # forking beside threads is what is tested
def test_a_forked_child_does_not_have_the_lease_of_its_parent() -> None:
    lease = Lease(300.0, Storage().renew, Lease.now())
    child = os.fork()
    if not child:
        os._exit(lease.lasts)
    assert os.waitpid(child, 0)[1] == 0
    assert lease.lasts
    lease.end()


def test_a_lease_of_another_process_says_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(300.0, Storage().renew, Lease.now())
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: -1)
        with pytest.raises(LockLost, match="forked from"):
            lease.ensure_lasting()
        lease.end()
    lease.ensure_lasting()
    lease.end()
