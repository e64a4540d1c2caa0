"""Stores of one server, account, options and share use one connection, and what one does leaves the others alone."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from exlab_store_smb.session import sharing
from exlab_store_smb.session.link import Link
from smb_stores import opened
from waiting import eventually

from exlab_store import AccessDenied, LockLost, LockTimeout, NotSupported, Store, StoreError, open_store
from exlab_store.documents.equipment import EquipmentCacheWriter, EquipmentJson
from exlab_store.opening import locations as resolving
from exlab_store.threads import THREADS_PER_SHARE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = pytest.mark.one_interpreter

KEY = "a.json"


@pytest.fixture
def one(samba: SambaServer) -> Iterator[Store]:
    """A store."""
    with opened(samba) as store:
        yield store


@pytest.fixture
def other(samba: SambaServer, one: Store) -> Iterator[Store]:
    """Another one, in a folder of the same share."""
    (samba.root / "folder").mkdir()
    with opened(samba, "folder") as store:
        yield store


@pytest.fixture
def stranger(samba: SambaServer, wire: WireProxy) -> Iterator[Store]:
    """A client that shares nothing with them."""
    with open_store(samba.url(user=False, port=wire.port), **samba.options) as store:
        yield store


def is_free(store: Store, key: str = KEY) -> bool:
    try:
        store.lock(key, timeout=0).release()
    except LockTimeout:
        return False
    return True


def connections(samba: SambaServer) -> int:
    return len(samba.established())


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """Document functions keep what they open for the life of the process."""
    yield
    resolving._forget()
    gc.collect()
    eventually(lambda: not sharing._shared)


# How many


@pytest.fixture
def descriptors_and_threads() -> Callable[[], tuple[int, int]]:
    """How many this process has."""
    return lambda: (len(os.listdir("/proc/self/fd")), threading.active_count())


def test_250_open_stores_of_one_share_use_one_connection(
    samba: SambaServer, descriptors_and_threads: Callable[[], tuple[int, int]]
) -> None:
    descriptors, threads = descriptors_and_threads()
    stores: list[Store] = []
    for number in range(250):
        (samba.root / f"{number}").mkdir()
        stores.append(opened(samba, f"{number}"))
        stores[-1].atomic_write(KEY, b"{}")
    descriptors_then, threads_then = descriptors_and_threads()
    assert connections(samba) == 1
    assert descriptors_then - descriptors <= 3
    assert threads_then - threads <= 2
    for store in stores:
        store.close()
    eventually(lambda: connections(samba) == 0)


def test_document_functions_over_250_folders_of_one_share_use_one_connection(
    samba: SambaServer,
    descriptors_and_threads: Callable[[], tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FSSPEC_SMB_USERNAME", samba.user)
    monkeypatch.setenv("FSSPEC_SMB_PASSWORD", samba.password)
    from fsspec.config import conf, set_conf_env

    monkeypatch.setitem(conf, "smb", {})
    set_conf_env(conf)
    descriptors, threads = descriptors_and_threads()
    urls = [samba.url(f"INSTRUMENT_{number}", "equipment.json", user=False) for number in range(250)]
    payload = EquipmentJson(id="ID", label="Label", configured_local_root="/a", configured_nas_root="//nas/lab")

    async def write_and_read() -> None:
        writer = EquipmentCacheWriter()
        for url in urls:
            await writer.write_equipment(url, payload)
        assert (await writer.read_equipment(urls[0])).label == "Label"

    asyncio.run(write_and_read())
    descriptors_then, threads_then = descriptors_and_threads()
    assert connections(samba) == 1
    assert descriptors_then - descriptors <= 3
    assert threads_then - threads <= 2 + THREADS_PER_SHARE


def test_stores_that_are_opened_at_once_by_many_threads_use_one_connection(samba: SambaServer) -> None:
    at_once = threading.Barrier(16)

    def use(_: int) -> Store:
        at_once.wait(20)
        return opened(samba)

    with ThreadPoolExecutor(16) as pool:
        stores = list(pool.map(use, range(16)))
    assert connections(samba) == 1
    for store in stores:
        store.close()


@pytest.mark.parametrize("options", [{"timeout": 7.0}, {"encrypt": True}, {"auth_protocol": "ntlm"}], ids=str)
def test_other_options_are_another_connection(samba: SambaServer, one: Store, options: dict[str, Any]) -> None:
    with opened(samba, **options):
        assert connections(samba) == 2


def test_another_share_is_another_connection(samba: SambaServer, one: Store) -> None:
    samba.add_share("archive", samba.directory / "archive")
    with open_store(samba.url(user=False, share="archive"), **samba.options):
        assert connections(samba) == 2


def test_another_account_is_another_connection(samba: SambaServer, one: Store) -> None:
    with opened(samba, **samba.add_account("somebody")):
        assert connections(samba) == 2


# Who is let in


def test_a_wrong_password_is_not_let_in_by_the_connection_that_is_there(samba: SambaServer, one: Store) -> None:
    with pytest.raises(AccessDenied):
        opened(samba, password="wrong")


def test_no_password_is_not_let_in_by_the_connection_that_is_there(samba: SambaServer, one: Store) -> None:
    with pytest.raises(StoreError):
        open_store(samba.url())


def test_the_registry_of_connections_knows_no_password(samba: SambaServer, one: Store) -> None:
    assert sharing._shared
    keys: list[Any] = list(sharing._shared)
    assert all(options.password is None and samba.password not in repr(rest) for options, *rest in keys)


def test_nothing_remembers_a_password_when_the_last_store_is_closed(samba: SambaServer) -> None:
    opened(samba).close()
    eventually(lambda: sharing._housekeeper is None)
    assert not sharing._shared


# Idle connections


def test_an_idle_connection_is_ended_and_made_again_when_it_is_needed(samba: SambaServer) -> None:
    before = threading.active_count()
    with opened(samba, idle_timeout=0.2) as store:
        store.atomic_write(KEY, b"{}")
        eventually(lambda: connections(samba) == 0)
        eventually(lambda: threading.active_count() <= before + 1)
        assert store.read_snapshot(KEY).data == b"{}"


def test_a_connection_is_not_idle_while_a_lock_is_held_on_it(samba: SambaServer, stranger: Store) -> None:
    with opened(samba, idle_timeout=0.1) as store, opened(samba, idle_timeout=0.1) as idle:
        with store.lock(KEY) as held:
            threading.Event().wait(0.5)  # the housekeeper comes by some times
            assert not is_free(stranger)
            store.atomic_write(KEY, b"{}", lock=held)
        idle.close()
        eventually(lambda: connections(samba) == 1)  # the stranger's


def test_a_connection_is_not_idle_while_a_lock_is_waited_for(samba: SambaServer, stranger: Store) -> None:
    with opened(samba, idle_timeout=0.1) as store, ThreadPoolExecutor(1) as pool:
        with stranger.lock(KEY):
            waiting = pool.submit(store.lock, KEY, timeout=30)
            threading.Event().wait(0.5)  # the housekeeper comes by some times
            assert not waiting.done()
        waiting.result(20).release()


def test_operations_of_many_threads_lose_nothing_to_the_end_of_idle_connections(samba: SambaServer) -> None:
    with opened(samba, idle_timeout=0.02) as store, ThreadPoolExecutor(4) as pool:

        def count(number: int) -> None:
            for _ in range(15):
                store.update(f"{number}.json", lambda current: b"%d" % (int(current or b"0") + 1))
                threading.Event().wait(0.025)

        list(pool.map(count, range(4)))
        assert [store.read_snapshot(f"{number}.json").data for number in range(4)] == [b"15"] * 4


def test_a_store_is_opened_though_its_own_new_connection_has_gone(samba: SambaServer, wire: WireProxy) -> None:
    url = samba.url(user=False, port=wire.port)
    open_store(url, **samba.options).close()  # what it finds out about the server is asked once
    with wire.counting() as count:
        store = open_store(url, **samba.options)
    store.close()
    wire.cut_at(count.requests - 1, "before_request")
    with open_store(url, **samba.options) as store:
        assert wire.fired.is_set()
        assert store.list_keys() is not None


def test_a_store_is_opened_though_the_connection_of_the_others_has_fallen_silent(
    samba: SambaServer, wire: WireProxy
) -> None:
    options: dict[str, Any] = {**samba.options, "timeout": 6.0, "connect_timeout": 6.0}
    with open_store(samba.url(user=False, port=wire.port), **options):
        wire.black_hole()
        wire.heal()  # for connections that are made from now on
        with open_store(samba.url(user=False, port=wire.port), **options) as store:
            assert store.list_keys() is not None


# Stores that are dropped


def test_a_store_that_is_dropped_gives_its_connection_back(samba: SambaServer) -> None:
    store = opened(samba)
    assert connections(samba) == 1
    del store
    gc.collect()
    eventually(lambda: connections(samba) == 0)


def test_a_store_that_is_dropped_leaves_the_connection_to_the_others(samba: SambaServer, one: Store) -> None:
    dropped = opened(samba)
    del dropped
    gc.collect()
    eventually(lambda: [len(each.stores) for each in sharing._shared.values()] == [1])
    one.atomic_write(KEY, b"{}")
    assert connections(samba) == 1


def test_the_lock_of_a_dropped_store_is_free(samba: SambaServer, one: Store, stranger: Store) -> None:
    dropped = opened(samba)
    held: object = dropped.lock(KEY)
    del dropped
    gc.collect()
    assert not is_free(stranger)  # whoever has the lock has the store
    del held
    gc.collect()
    eventually(lambda: is_free(stranger))


# What one does and the others do not notice


def test_a_lock_stays_when_another_store_of_the_share_is_closed(one: Store, other: Store, stranger: Store) -> None:
    with one.lock(KEY) as held:
        other.close()
        assert not is_free(stranger)
        one.atomic_write(KEY, b"{}", lock=held)


def test_closing_a_store_frees_its_locks_and_no_others(one: Store, other: Store, stranger: Store) -> None:
    with one.lock(KEY):
        held = other.lock(KEY)
        other.close()
        assert is_free(stranger, f"folder/{KEY}")
        assert not is_free(stranger)
        with pytest.raises(LockLost):
            held.ensure_held()


def test_closing_a_store_ends_its_wait_for_a_lock(one: Store, other: Store, stranger: Store) -> None:
    with stranger.lock(f"folder/{KEY}"), ThreadPoolExecutor(1) as pool:
        asked = threading.Event()

        def waits() -> bool:
            asked.set()
            return False

        waiting = pool.submit(other.lock, KEY, timeout=600, cancelled=waits)
        assert asked.wait(20)
        other.close()
        with pytest.raises(NotSupported):
            waiting.result(20)
    assert is_free(stranger, f"folder/{KEY}")


def test_closing_waits_for_a_write_under_a_lock_of_the_store(one: Store, other: Store, stranger: Store) -> None:
    held = other.lock(KEY)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(other.atomic_write, KEY, bytes(4 << 20), lock=held)
        other.close()
        stranger.update(f"folder/{KEY}", lambda _: b"successor")
        assert isinstance(writing.exception(20), StoreError | None)
    assert stranger.read_snapshot(f"folder/{KEY}").data == b"successor"


def test_an_interrupted_store_ends_the_connection_and_the_others_come_back(
    one: Store, other: Store, stranger: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = one.lock(KEY)
    wait = Link.wait

    def interrupted(*arguments: Any) -> Any:
        wait(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Link, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            other.atomic_write(KEY, b"{}")
    with pytest.raises(LockLost):
        one.atomic_write(KEY, b"{}", lock=held)
    held.release()
    one.update(KEY, lambda _: b"1")
    other.update(KEY, lambda _: b"2")
    assert is_free(stranger)


def test_a_lost_connection_comes_back_once_for_all_its_stores(samba: SambaServer, one: Store, other: Store) -> None:
    (client,) = samba.client_pids()
    samba.kill_client(client)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda store: store.atomic_write(KEY, b"{}"), [one, other]))
    assert connections(samba) == 1


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("verb", ["close", "read", "lock", "drop"])
def test_a_forked_process_leaves_the_locks_of_all_its_parents_stores(
    samba: SambaServer, one: Store, other: Store, stranger: Store, verb: str
) -> None:
    verbs: dict[str, Callable[[], object]] = {
        "close": other.close,
        "read": other.list_keys,
        "lock": lambda: other.lock(KEY).release(),
        "drop": lambda: sharing.give_back(next(iter(next(iter(sharing._shared.values())).stores))),
    }
    with one.lock(KEY) as held:
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            try:
                verbs[verb]()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert not is_free(stranger)
        one.atomic_write(KEY, b"{}", lock=held)
        other.atomic_write(KEY, b"{}")


def test_two_stores_of_one_connection_exclude_each_other(samba: SambaServer, one: Store, other: Store) -> None:
    with other.lock(KEY), ThreadPoolExecutor(1) as pool:
        assert not pool.submit(is_free, one, f"folder/{KEY}").result()
    assert is_free(one, f"folder/{KEY}")


def test_updates_through_several_stores_of_one_connection_are_all_counted(samba: SambaServer, one: Store) -> None:
    (samba.root / "a" / "b").mkdir(parents=True)
    ways = [(opened(samba), "a/b/n"), (opened(samba, "a"), "b/n"), (opened(samba, "a", "b"), "n")]
    with ThreadPoolExecutor(6) as pool:

        def count(way: tuple[Store, str]) -> None:
            for _ in range(10):
                way[0].update(way[1], lambda current: b"%d" % (int(current or b"0") + 1))

        list(pool.map(count, ways * 2))
    assert Path(samba.root, "a/b/n").read_bytes() == b"60"
    for store, _ in ways:
        store.close()


def test_a_release_that_the_server_does_not_answer_is_noticed_though_its_store_was_closed(
    samba: SambaServer, wire: WireProxy
) -> None:
    # Closing waits for the answer longer than the release may take, and the connection is that of another store too.
    options: dict[str, Any] = {**samba.options, "timeout": 1.0}
    with open_store(samba.url(user=False, port=wire.port), **options) as store:
        closing = open_store(samba.url(user=False, port=wire.port), **options)
        held = closing.lock(KEY)
        (link,) = links_in_use()
        wire.black_hole()
        closing.close()
        assert held.key == KEY  # kept until here: a lock that nothing refers to is released
        eventually(lambda: not link.alive)
        wire.heal()
        assert store.list_keys() is not None


def links_in_use() -> list[Link]:
    return [shared._link for shared in list(sharing._shared.values()) if shared._link is not None]
