"""Locks of the S3 backend are leases: a holder that goes silent loses its lock, and never overwrites its successor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest
from cutting_proxy import running_proxy
from standing_still import stands_still
from waiting import eventually

from exlab_store import Location, LockLost, LockOwner, LockTimeout, NotSupported, Store, open_store

if TYPE_CHECKING:
    from seaweed_server import SeaweedServer

pytestmark = pytest.mark.one_interpreter

LEASE = 1.0


@pytest.fixture
def options(seaweed: SeaweedServer) -> dict[str, Any]:
    return {**seaweed.options, "lease": LEASE}


def client(url: str, options: dict[str, Any]) -> Store:
    """A client of its own, as one of another process: the core lets the threads of one store pass in turn."""
    from exlab_store_s3 import open_backend

    return open_store(backend=open_backend(Location.parse(url), options))


def test_a_lock_is_held_for_longer_than_its_lease(seaweed: SeaweedServer, options: dict[str, Any]) -> None:
    url = seaweed.folder()
    options["lease"] = 3.0  # a busy machine may keep the renewal for a second
    with client(url, options) as store, client(url, options) as other, store.lock("a") as held:
        with pytest.raises(LockTimeout) as caught:
            other.lock("a", timeout=7)
        assert caught.value.holder == held.owner
        held.ensure_held()


def test_the_lock_of_a_holder_that_is_cut_off_is_lost_and_another_gets_it(
    seaweed: SeaweedServer, options: dict[str, Any]
) -> None:
    url = seaweed.folder()
    with running_proxy(seaweed.port) as proxy:
        through = {**options, "endpoint": f"http://127.0.0.1:{proxy.port}", "timeout": 3.0}
        with client(url, through) as store, client(url, options) as other:
            held = store.lock("a")
            proxy.refuse()
            with other.lock("a", timeout=30 * LEASE) as taken:
                with pytest.raises(LockLost):
                    held.ensure_held()
                proxy.heal()
                held.release()
                taken.ensure_held()


def test_a_lock_object_that_somebody_deletes_is_a_lost_lock(seaweed: SeaweedServer, options: dict[str, Any]) -> None:
    url = seaweed.folder()
    with open_store(url, **options) as store, store.lock("a") as held:
        seaweed.objects().delete(url.removeprefix("s3://lab/") + "/a.lock")
        with pytest.raises(LockLost):
            held.ensure_held()


def test_something_else_under_the_name_of_a_lock_is_taken_over_when_it_stays_the_same(
    seaweed: SeaweedServer, options: dict[str, Any]
) -> None:
    url = seaweed.folder()
    seaweed.objects().put(url.removeprefix("s3://lab/") + "/a.lock", b"\xffno record")
    with open_store(url, **options) as store:
        with pytest.raises(LockTimeout):
            store.lock("a", timeout=0)
        store.lock("a", timeout=30 * LEASE).release()


def test_a_lock_that_is_dropped_is_renewed_no_more(seaweed: SeaweedServer, options: dict[str, Any]) -> None:
    from exlab_store_s3 import open_backend

    url = seaweed.folder()
    owner = LockOwner("0" * 16, "host", "user", 1, "2026-01-01T00:00:00Z")
    backend = open_backend(Location.parse(url), options)
    backend.lock("a", owner, 0, lambda: False)  # and nobody has it
    with client(url, options) as other:
        other.lock("a", timeout=30 * LEASE).release()


def test_the_lock_of_a_key_of_1024_bytes_has_a_name_of_its_own(seaweed: SeaweedServer, options: dict[str, Any]) -> None:
    with client("s3://lab", options) as store, client("s3://lab", options) as other:
        for key in ("/".join(c * 204 for c in "abcde"), "/".join("d" * 512)):
            with store.lock(key), pytest.raises(LockTimeout):
                other.lock(key, timeout=0)


def test_locks_of_one_document_through_two_folders_exclude_each_other(
    seaweed: SeaweedServer, options: dict[str, Any]
) -> None:
    url = seaweed.folder()
    with client(url, options) as store, client(f"{url}/inner", options) as inner:
        held = store.lock("inner/a")
        with pytest.raises(LockTimeout):
            inner.lock("a", timeout=0)
        held.release()


def test_a_write_under_a_lock_is_not_supported_as_nothing_fences_it(
    seaweed: SeaweedServer, options: dict[str, Any]
) -> None:
    with open_store(seaweed.folder(), **options) as store, store.lock("a") as held:
        with pytest.raises(NotSupported):
            store.atomic_write("a", b"1", lock=held)
        store.update("a", lambda _: b"2", lock=held)
        assert store.read_snapshot("a").data == b"2"


_FROZEN = """
    import os, signal, sys
    from exlab_store import open_store

    url, rounds, options = {url!r}, {rounds}, {options!r}
    with open_store(url, **options) as store:
        for number in range(rounds):
            calls = []

            def change(current):
                calls.append(current)
                if len(calls) == 1:
                    print("frozen", flush=True)
                    os.kill(os.getpid(), signal.SIGSTOP)  # under the lock, before the write
                return current + b"holder %d;" % number

            store.update("a", change, timeout=60)
            print(len(calls), flush=True)
"""


@pytest.mark.parametrize("rounds", [2, pytest.param(200, marks=pytest.mark.slow)])
def test_an_update_that_was_frozen_past_its_lease_overwrites_nothing_of_its_successor(
    seaweed: SeaweedServer, options: dict[str, Any], rounds: int
) -> None:
    url = seaweed.folder()
    options["lease"] = 2.0  # the successor keeps its own on a busy machine
    program = textwrap.dedent(_FROZEN.format(url=url, rounds=rounds, options=options))
    with open_store(url, **options) as store:
        store.atomic_write("a", b"")
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            try:
                refused = 0
                for number in range(rounds):
                    assert holder.stdout.readline() == "frozen\n"
                    eventually(lambda: stands_still(holder.pid))
                    update = b"successor %d;" % number
                    # Every other successor still holds the lock, and has not written, when the frozen one goes on.
                    with store.lock("a", timeout=60) as held:
                        if number % 2:
                            os.kill(holder.pid, signal.SIGCONT)
                            time.sleep(0.05)
                        store.update("a", lambda current, update=update: (current or b"") + update, lock=held)
                    os.kill(holder.pid, signal.SIGCONT)
                    refused += int(holder.stdout.readline()) > 1
                assert refused == rounds
            finally:
                holder.kill()
        expected = b"".join(b"successor %d;holder %d;" % (number, number) for number in range(rounds))
        assert store.read_snapshot("a").data == expected
