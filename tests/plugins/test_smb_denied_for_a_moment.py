"""A server that refuses a name while it is being replaced, as Samba 4.22 does, and one that refuses an account."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from shared_samba import BOTH
from smb_stores import opened

from exlab_store import AccessDenied, DocumentNotFound, LockTimeout, Store, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = pytest.mark.one_interpreter

SECONDS = 3.0


@pytest.fixture(params=BOTH)
def samba_release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def delete_one_of_many(store: Store) -> None:
    store.atomic_write("b.json", b"1")
    try:
        store.delete("b.json")
    except DocumentNotFound:
        pass


WORK: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.read_snapshot("a.json"),
    "update": lambda store: store.update("a.json", lambda data: data or b""),
    "lock": lambda store: store.lock("a.json").release(),
    "list": lambda store: list(store.list_keys()),
    "delete": delete_one_of_many,
}


def test_nobody_is_denied_anything_beside_a_busy_writer(samba: SambaServer) -> None:
    (samba.root / "d").mkdir()
    (samba.root / "d").chmod(0o777)
    until = time.monotonic() + SECONDS
    seen: Counter[str] = Counter()

    def work(what: str) -> None:
        with opened(samba, "d") as mine:
            while time.monotonic() < until:
                try:
                    WORK[what](mine)
                    seen[what] += 1
                except StoreError as error:
                    seen[f"{what}: {error}"] += 1

    threads = [threading.Thread(target=work, args=(what,)) for what in ["read", *WORK]]
    with opened(samba, "d") as writer:
        writer.atomic_write("a.json", b"0")
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            writer.atomic_write("a.json", b"1")
        for thread in threads:
            thread.join()
    assert set(seen) == set(WORK)


@pytest.fixture
def stranger(samba: SambaServer, needs_root: None) -> Iterator[Store]:
    """An account that may not read the document, list its folder, or add anything to it."""
    folder = samba.root / "d"
    folder.mkdir()
    (folder / "a.json").write_bytes(b"secret")
    (folder / "a.json").chmod(0o600)
    (folder / "a.json.lock").touch(0o600)
    folder.chmod(0o711)
    with opened(samba, "d", **samba.add_account("stranger")) as store:
        yield store


@pytest.mark.parametrize("what", ["read", "lock", "list", "delete"])
def test_an_account_without_the_right_is_told_so_soon(stranger: Store, what: str) -> None:
    began = time.monotonic()
    with pytest.raises(AccessDenied):
        WORK[what](stranger)
    assert time.monotonic() - began < 8  # half a second where nothing else runs


@pytest.mark.parametrize("what", ["read", "write", "lock", "list", "delete"])
def test_who_is_denied_for_a_moment_only_notices_nothing(
    samba: SambaServer, stranger: Store, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    folder = samba.root / "d"
    pauses: list[float] = []

    def allow_in_the_first_pause(seconds: float) -> None:
        pauses.append(seconds)
        folder.chmod(0o777)
        for path in folder.iterdir():
            path.chmod(0o666)

    monkeypatch.setattr("exlab_store_smb.steps.backoff.sleep", allow_in_the_first_pause)
    work = {
        **WORK,
        "write": lambda store: store.atomic_write("new.json", b"1"),
        "delete": lambda store: store.delete("a.json"),
    }
    work[what](stranger)
    assert pauses


def incremented(data: bytes | None) -> bytes:
    return str(int(data or b"0") + 1).encode()


@pytest.mark.usefixtures("needs_root")
def test_an_update_that_is_denied_for_a_moment_is_made_under_a_lock(
    samba: SambaServer, wire: WireProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its compound releases the lock all the same; what is sent next has to take it again.
    folder = samba.root / "d"
    folder.mkdir()
    folder.chmod(0o777)
    acknowledged = 0

    def another_updates_and_allows(_: float) -> None:
        nonlocal acknowledged
        try:
            successor.update("a.json", incremented, timeout=0)
            acknowledged += 1
        except LockTimeout:
            pass
        folder.chmod(0o777)

    account = samba.add_account("colleague")
    elsewhere = samba.url("d", user=False, port=wire.port)  # as another process sees it
    with opened(samba, "d", **account) as store, open_store(elsewhere, **samba.options) as successor:
        for _ in range(2):  # the first shows that the server carries out chains in order
            store.update("a.json", incremented)
        folder.chmod(0o755)
        monkeypatch.setattr("exlab_store_smb.steps.backoff.sleep", another_updates_and_allows)
        store.update("a.json", incremented)
        assert int(store.read_snapshot("a.json").data) == 3 + acknowledged
