"""A server that refuses a name while it is being replaced, as Samba 4.22 does, and one that refuses an account."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from shared_samba import BOTH

from exlab_store import AccessDenied, DocumentNotFound, Store, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

SECONDS = 3.0


@pytest.fixture(params=BOTH)
def samba_release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(samba: SambaServer, **account: str) -> Store:
    return open_store(samba.url("d", user=False), **(account or samba.options))


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
        with opened(samba) as mine:
            while time.monotonic() < until:
                try:
                    WORK[what](mine)
                    seen[what] += 1
                except StoreError as error:
                    seen[f"{what}: {error}"] += 1

    threads = [threading.Thread(target=work, args=(what,)) for what in ["read", *WORK]]
    with opened(samba) as writer:
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
    with opened(samba, **samba.add_account("stranger")) as store:
        yield store


@pytest.mark.parametrize("what", ["read", "lock", "list", "delete"])
def test_an_account_without_the_right_is_told_so_soon(stranger: Store, what: str) -> None:
    began = time.monotonic()
    with pytest.raises(AccessDenied):
        WORK[what](stranger)
    assert time.monotonic() - began < 3  # half a second where nothing else runs


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

    monkeypatch.setattr("exlab_store_smb.backoff.sleep", allow_in_the_first_pause)
    work = {
        **WORK,
        "write": lambda store: store.atomic_write("new.json", b"1"),
        "delete": lambda store: store.delete("a.json"),
    }
    work[what](stranger)
    assert pauses
