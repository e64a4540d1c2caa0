"""Updates under the lock are all kept, in whichever ways their writers reach one folder at the same time."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from exlab_store import ABSENT, DocumentNotFound, Expectation, VersionConflict, open_store
from mounts.machines import SERVER, A, B, C, Machine, Site, new_site

pytestmark = pytest.mark.one_interpreter

_KEY = "count.json"
_PATIENCE = 240.0  # seconds that one update may wait for its turn; this machine may be busy

# A thousand in all, by three clients or more.
SHORT_AND_LONG = pytest.mark.parametrize("updates", [25, pytest.param(334, marks=pytest.mark.slow)])


def _count(location: str, updates: int) -> None:
    with open_store(location) as store:
        for _ in range(updates):
            store.update(_KEY, lambda data: str(int(data or b"0") + 1).encode(), timeout=_PATIENCE)


def _counted(site: Site, clients: list[tuple[Machine, str]], updates: int) -> int:
    """Lets one process of each client count, all together, and reads the count on the server."""
    with ExitStack() as stack:
        pools: list[ProcessPoolExecutor] = [stack.enter_context(machine.pool()) for machine, _ in clients]
        counting = [pool.submit(_count, location, updates) for pool, (_, location) in zip(pools, clients, strict=True)]
        for each in counting:
            each.result()
    return int((site.server / _KEY).read_bytes())


@SHORT_AND_LONG
@pytest.mark.parametrize("kind", ["nfs-4.2", pytest.param("nfs-4.0", marks=pytest.mark.slow), "cifs-mixed"])
def test_two_mounts_a_client_of_smb_and_a_process_on_the_server_lose_no_update(site: Site, updates: int) -> None:
    clients = [(A, str(site.a)), (B, str(site.b)), (C, site.smb), (SERVER, str(site.server))]
    assert _counted(site, clients, updates) == 4 * updates


@SHORT_AND_LONG
@pytest.mark.parametrize("kind", ["cifs-strict", pytest.param("cifs-none", marks=pytest.mark.slow)])
def test_two_cifs_mounts_and_a_client_of_smb_lose_no_update(site: Site, updates: int) -> None:
    clients = [(A, str(site.a)), (B, str(site.b)), (C, site.smb)]
    assert _counted(site, clients, updates) == 3 * updates


@SHORT_AND_LONG
def test_an_nfs_mount_and_a_cifs_mount_lose_no_update_where_lock_files_have_no_leases(updates: int) -> None:
    nfs, cifs = new_site("nfs-4.2"), "cifs-mixed"
    clients = [(A, str(nfs.a)), (B, str(B.mount(cifs) / nfs.name))] * 2
    assert _counted(nfs, clients, updates) == 4 * updates


def _swap(location: str, client: str, times: int) -> None:
    with open_store(location) as store:
        for number in range(times):
            try:
                expect: Expectation = store.read_snapshot(_KEY).version
            except DocumentNotFound:
                expect = ABSENT
            with suppress(VersionConflict):
                store.atomic_write(_KEY, f"{client} {number}".encode(), expect=expect)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cifs-strict", "cifs-none"])
def test_a_lock_that_two_processes_of_a_cifs_client_ask_for_at_once_is_lost_to_nobody(kind: str) -> None:
    """Linux may refuse a lock that the server has granted: nobody would get it any more (about one round in 8)."""
    with A.pool(2) as a, B.pool() as b:
        for _ in range(8):
            site = new_site(kind)
            ways = ((a, site.a, "first"), (b, site.b, "second"), (a, site.a, "third"))
            swapping = [pool.submit(_swap, str(folder), client, 60) for pool, folder, client in ways]
            for each in swapping:
                each.result()  # LockTimeout, where the lock is lost
