"""What is repeated, what is not, and how often."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from exlab_store import (
    BackendUnavailable,
    DocumentNotFound,
    Guarantees,
    Retry,
    Snapshot,
    StoreError,
    Version,
    WriteOutcomeUnknown,
    hookimpl,
    open_store,
)

QUICK = Retry(attempts=3, wait=0.001, longest_wait=0.001)

# mypy: disable-error-code="no-untyped-def"


class Flaky:
    """Raises what it is given, one error a call, then works."""

    guarantees = Guarantees(atomic_replace=True, lists=True, deletes=True)

    def __init__(self, *errors: StoreError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def _call(self, result: Any) -> Any:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return result

    def close(self):
        pass

    @hookimpl
    def read_snapshot(self, key):
        return self._call(Snapshot(b"x"))

    @hookimpl
    def atomic_write(self, key, data, expect, lock):
        return self._call(Version("1"))

    @hookimpl
    def lock(self, key, owner, timeout, cancelled):
        raise NotImplementedError

    @hookimpl
    def list_keys(self, prefix):
        return self._call([])

    @hookimpl
    def delete(self, key, expect, lock):
        return self._call(None)


def _down() -> BackendUnavailable:
    return BackendUnavailable("the line is down")


VERBS = {
    "read": lambda store: store.read_snapshot("a"),
    "write": lambda store: store.atomic_write("a", b""),
    "list": lambda store: store.list_keys(),
    "delete": lambda store: store.delete("a"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_an_operation_that_did_not_happen_is_repeated(verb: str) -> None:
    backend = Flaky(_down(), _down())
    VERBS[verb](open_store(backend=backend, retry=QUICK))
    assert backend.calls == 3


@pytest.mark.parametrize("verb", VERBS)
def test_the_last_attempt_s_error_is_raised(verb: str) -> None:
    backend = Flaky(*[_down() for _ in range(9)])
    with pytest.raises(BackendUnavailable, match="the line is down"):
        VERBS[verb](open_store(backend=backend, retry=QUICK))
    assert backend.calls == 3


@pytest.mark.parametrize("error", [WriteOutcomeUnknown("?", intended=None), DocumentNotFound("none")])
def test_nothing_else_is_repeated(error: StoreError) -> None:
    backend = Flaky(error)
    with pytest.raises(type(error)):
        open_store(backend=backend, retry=QUICK).atomic_write("a", b"")
    assert backend.calls == 1


@pytest.mark.parametrize("retry", [None, Retry(attempts=1)])
def test_without_retrying_there_is_one_attempt(retry: Retry | None) -> None:
    backend = Flaky(_down())
    with pytest.raises(BackendUnavailable):
        open_store(backend=backend, retry=retry).read_snapshot("a")
    assert backend.calls == 1


def test_a_lock_is_asked_for_again_within_its_timeout() -> None:
    class Locking(Flaky):
        guarantees = Guarantees(atomic_replace=True, lock_scope="process")
        timeouts: list[float] = []  # noqa: RUF012

        @hookimpl
        def lock(self, key, owner, timeout, cancelled):
            self.timeouts.append(timeout)
            raise _down()

    backend = Locking()
    store = open_store(backend=backend, retry=QUICK)
    with pytest.raises(BackendUnavailable):
        store.lock("a", timeout=5)
    assert len(backend.timeouts) == 3
    assert 5 >= backend.timeouts[0] > backend.timeouts[2] > 4


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"wait": -1}, {"timeout": 0}])
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="attempts"):
        Retry(**wrong)


def test_a_retry_writes_nothing_on_the_standard_error_of_a_program_without_logging() -> None:
    program = (
        "from exlab_store import Retry, open_store\n"
        "from exlab_store.testing.faults import FaultPlan, before\n"
        "store = open_store('memory://', observers=[FaultPlan(before('atomic_write'))], retry=Retry(wait=0.001))\n"
        "store.atomic_write('a', b'1')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stderr == ""


def test_a_lock_without_time_left_is_not_asked_for_again() -> None:
    class Down(Flaky):
        guarantees = Guarantees(atomic_replace=True, lock_scope="process")

        @hookimpl
        def lock(self, key, owner, timeout, cancelled):
            return self._call(None)

    backend = Down(_down(), _down())
    with pytest.raises(BackendUnavailable):
        open_store(backend=backend, retry=QUICK).lock("a", timeout=0)
    assert backend.calls == 1


def test_what_the_backend_has_repeated_itself_is_not_repeated_again() -> None:
    backend = Flaky(BackendUnavailable("gone", exhausted=True))
    with open_store(backend=backend, retry=QUICK) as store, pytest.raises(BackendUnavailable):
        store.read_snapshot("a")
    assert backend.calls == 1


def test_a_repetition_ends_when_the_backend_says_that_it_has_tried_long_enough() -> None:
    backend = Flaky(BackendUnavailable("gone"), BackendUnavailable("gone", exhausted=True))
    with open_store(backend=backend, retry=QUICK) as store, pytest.raises(BackendUnavailable):
        store.read_snapshot("a")
    assert backend.calls == 2
