"""A lock whose file an administrator closes on the server (Close-SmbOpenFile), while the session goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from exlab_store_smb.steps import held_lock
from server_administrator import close_open_file, may_administrate

from exlab_store import LockLost, Store, WriteOutcomeUnknown, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer
    from wire_proxy import WireProxy

    from exlab_store import HeldLock

pytestmark = [pytest.mark.one_interpreter, pytest.mark.one_server]

KEY = "a.json"
OLD, NEW = b"old", b"new"
LARGE = b"new " * (1 << 19)  # 2 MiB: more than one request takes
ALWAYS, NEVER = -1.0, 3600.0  # seconds for which an answer about the lock's file is believed


@pytest.fixture(scope="module")
def server(server: SambaServer) -> SambaServer:
    """One server for all of this module, as its administrators' service takes a second to start."""
    may_administrate(server)
    return server


@pytest.fixture
def store(samba: SambaServer, wire: WireProxy) -> Iterator[Store]:
    with open_store(samba.url(user=False, port=wire.port), **samba.options) as opened:
        opened.atomic_write(KEY, OLD)
        yield opened


@pytest.fixture
def asks_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the last answer about a lock's file were always old."""
    monkeypatch.setattr(held_lock, "_FRESH", ALWAYS)


@pytest.fixture
def asks_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were never old, on a machine as busy as it likes."""
    monkeypatch.setattr(held_lock, "_FRESH", NEVER)


@pytest.fixture
def closed(samba: SambaServer, store: Store) -> Iterator[HeldLock]:
    """A lock whose file was closed behind its holder's back; somebody else has taken it since."""
    with store.lock(KEY) as held:
        close_open_file(samba, f"{KEY}.lock")
        with open_store(samba.root) as successor, successor.lock(KEY, timeout=10):
            yield held


@pytest.mark.usefixtures("asks_always")
@pytest.mark.parametrize("data", [NEW, LARGE], ids=["small", "large"])
def test_a_write_under_it_is_refused(samba: SambaServer, store: Store, closed: HeldLock, data: bytes) -> None:
    with pytest.raises(LockLost, match="closed the lock's file"):
        store.atomic_write(KEY, data, lock=closed)
    assert sorted(path.name for path in samba.root.iterdir()) == [KEY, f"{KEY}.lock"]
    assert (samba.root / KEY).read_bytes() == OLD


@pytest.mark.usefixtures("asks_always")
def test_a_deletion_under_it_is_refused(samba: SambaServer, store: Store, closed: HeldLock) -> None:
    with pytest.raises(LockLost):
        store.delete(KEY, lock=closed)
    assert (samba.root / KEY).read_bytes() == OLD


@pytest.mark.usefixtures("asks_always")
def test_its_holder_is_told_when_it_asks(closed: HeldLock) -> None:
    with pytest.raises(LockLost):
        closed.ensure_held()


@pytest.mark.usefixtures("asks_always")
def test_it_is_released_without_a_word_and_taken_again(samba: SambaServer, store: Store) -> None:
    held = store.lock(KEY)
    close_open_file(samba, f"{KEY}.lock")
    held.release()
    with store.lock(KEY, timeout=10) as again:
        store.atomic_write(KEY, NEW, lock=again)


@pytest.mark.usefixtures("asks_never")
def test_a_write_that_was_on_its_way_says_that_its_outcome_is_unknown(store: Store, closed: HeldLock) -> None:
    # The window that is left: the file was closed after the server's last answer, and that was a moment ago.
    with pytest.raises(WriteOutcomeUnknown, match="closed the lock's file") as caught:
        store.atomic_write(KEY, NEW, lock=closed)
    assert isinstance(caught.value.__cause__, LockLost)


@pytest.mark.usefixtures("asks_never")
def test_the_next_write_after_that_is_refused(store: Store, closed: HeldLock, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WriteOutcomeUnknown):
        store.atomic_write(KEY, NEW, lock=closed)
    monkeypatch.setattr(held_lock, "_FRESH", ALWAYS)
    with pytest.raises(LockLost):
        store.atomic_write(KEY, OLD, lock=closed)


@pytest.mark.usefixtures("asks_never")
def test_a_lock_that_is_used_at_once_costs_no_question(wire: WireProxy, store: Store) -> None:
    with store.lock(KEY) as held, wire.counting() as count:
        store.atomic_write(KEY, NEW, lock=held)
        store.atomic_write(KEY, OLD, lock=held)
    assert count.round_trips == 2, count.log


@pytest.mark.usefixtures("asks_always")
def test_a_lock_that_was_held_for_long_costs_one_question(
    wire: WireProxy, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.lock(KEY) as held, wire.counting() as count:
        held.ensure_held()
        monkeypatch.setattr(held_lock, "_FRESH", NEVER)
        store.atomic_write(KEY, NEW, lock=held)
    assert count.round_trips == 2, count.log
