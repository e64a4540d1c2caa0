"""The connection is cut at every request, before it and behind it: what an operation says happened has happened."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cutting_proxy import FAULTS, running_proxy
from waiting import eventually

from exlab_store import (
    ABSENT,
    BackendUnavailable,
    DocumentNotFound,
    Store,
    StoreError,
    WriteOutcomeUnknown,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cutting_proxy import CuttingProxy, Fault
    from seaweed_server import SeaweedServer

pytestmark = pytest.mark.one_interpreter

TIMEOUT = 3.0
LEASE = 1.0
BRIEF = ("before_request", "after_request")
OLD, NEW = b"old", b"new"


@pytest.fixture(scope="module")
def proxy(seaweed: SeaweedServer) -> Iterator[CuttingProxy]:
    with running_proxy(seaweed.port) as found:
        yield found


def _swap(store: Store) -> None:
    store.atomic_write("a", NEW, expect=store.read_snapshot("a").version)


def _delete_version(store: Store) -> None:
    store.delete("a", expect=store.read_snapshot("a").version)


# Each with what is stored before it, and afterwards.
OPERATIONS: dict[str, tuple[Callable[[Store], object], bytes | None, bytes | None]] = {
    "write": (lambda store: store.atomic_write("a", NEW), OLD, NEW),
    "create": (lambda store: store.atomic_write("a", NEW, expect=ABSENT), None, NEW),
    "swap": (_swap, OLD, NEW),
    "update": (lambda store: store.update("a", lambda _: NEW), OLD, NEW),
    "delete": (lambda store: store.delete("a"), OLD, None),
    "delete a version": (_delete_version, OLD, None),
    "lock": (lambda store: store.lock("a").release(), OLD, OLD),
    "read": (lambda store: store.read_snapshot("a"), OLD, OLD),
    "stat": (lambda store: store.stat("a"), OLD, OLD),
    "list": (lambda store: [store.list_keys(), [*store.list_folder()]], OLD, OLD),
}


def _stored(store: Store) -> bytes | None:
    try:
        return store.read_snapshot("a").data
    except DocumentNotFound:
        return None


def _prepare(store: Store, data: bytes | None) -> None:
    if data is not None:
        store.atomic_write("a", data)
    elif store.exists("a"):
        store.delete("a")


def _in_time(call: Callable[[], object]) -> bool:
    """Whether a call at which nothing is cut has its time: the lease makes it short for a server that stands still."""
    try:
        call()
    except (BackendUnavailable, WriteOutcomeUnknown) as error:
        if "does not answer in time" not in error.message:
            raise
        return False
    return True


@pytest.mark.parametrize(
    "retry", [pytest.param(False, id="once"), pytest.param(True, id="repeated", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=() if fault in BRIEF else pytest.mark.slow) for fault in FAULTS]
)
def test_an_operation_that_is_cut_at_any_request_tells_the_truth_and_the_next_one_works(
    seaweed: SeaweedServer, proxy: CuttingProxy, fault: Fault, name: str, retry: bool
) -> None:
    operation, before, after = OPERATIONS[name]
    options = {**seaweed.options, "timeout": TIMEOUT, "lease": LEASE}
    url = seaweed.folder()
    through = {**options, "endpoint": f"http://127.0.0.1:{proxy.port}", **({} if retry else {"retry": None})}
    with open_store(url, **options) as direct, open_store(url, **through) as store:
        counts: list[int] = []

        def free_lock() -> None:  # what a cut release has left ends with its lease
            direct.lock("a", timeout=10 * LEASE).release()

        def whole() -> None:
            _prepare(direct, before)
            free_lock()
            proxy.heal()
            operation(store)
            counts.append(proxy.heal())

        eventually(lambda: _in_time(whole))
        for number in range(count := counts[-1]):
            _prepare(direct, before)
            eventually(lambda: _in_time(free_lock))
            proxy.plan(number, fault)
            began = time.monotonic()
            try:
                operation(store)
                expected = {after}
            except WriteOutcomeUnknown:
                expected = {before, after}
            except StoreError:
                expected = {before}
            assert time.monotonic() - began < 3 * (TIMEOUT + LEASE) + 10, "it is not back in time"
            proxy.heal()
            assert _stored(direct) in expected, f"the cut at request {number} of {count}"
            again = partial(store.update, "b", lambda current: (current or b"") + b"!", timeout=10 * LEASE)
            eventually(lambda again=again: _in_time(again))
            assert proxy.fired
