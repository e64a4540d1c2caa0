"""A mutex is held while work is done, and given back whatever comes out of it."""

from __future__ import annotations

import threading

import pytest

from exlab_store.backend import under_mutex


def test_the_mutex_is_held_during_the_work_and_free_after_it() -> None:
    mutex = threading.Lock()
    assert under_mutex(mutex, mutex.locked)
    assert not mutex.locked()


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_what_the_work_raises_passes_through_and_leaves_the_mutex_free(error: BaseException) -> None:
    mutex = threading.Lock()

    def work() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        under_mutex(mutex, work)
    assert raised.value is error
    assert not mutex.locked()


def test_a_mutex_that_may_be_taken_twice_is_given_back_twice() -> None:
    mutex = threading.RLock()
    assert under_mutex(mutex, lambda: under_mutex(mutex, lambda: "done")) == "done"
    free: list[bool] = []
    other = threading.Thread(target=lambda: free.append(mutex.acquire(blocking=False)))
    other.start()
    other.join()
    assert free == [True]
