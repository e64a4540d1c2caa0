"""The verbs of a store, the same for every backend."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest

from exlab_store import (
    ABSENT,
    DocumentExists,
    DocumentNotFound,
    GuaranteeNotMet,
    Guarantees,
    InvalidKey,
    LockLost,
    LockTimeout,
    NotSupported,
    Snapshot,
    StorePath,
    Version,
    VersionConflict,
    open_store,
)

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)), b"x" * 65536, b"y" * (5 << 20)], ids=len)
def test_what_was_written_is_read(store: Store, data: bytes) -> None:
    store.atomic_write("a/b.json", data)
    assert store.read_snapshot("a/b.json").data == data


def test_the_version_is_the_hash_of_the_bytes(store: Store) -> None:
    version = store.atomic_write("a", b"{}")
    assert version == store.read_snapshot("a").version == hashlib.sha256(b"{}").hexdigest()


def test_a_document_that_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(DocumentNotFound):
        store.read_snapshot("a")


def test_absent_writes_where_there_is_nothing(store: Store) -> None:
    store.atomic_write("a", b"1", expect=ABSENT)
    assert store.read_snapshot("a").data == b"1"


def test_absent_refuses_where_there_is_something(store: Store) -> None:
    version = store.atomic_write("a", b"1")
    with pytest.raises(DocumentExists) as caught:
        store.atomic_write("a", b"2", expect=ABSENT)
    assert caught.value.found == version
    assert store.read_snapshot("a").data == b"1"


def test_the_right_version_writes(store: Store) -> None:
    version = store.atomic_write("a", b"1")
    store.atomic_write("a", b"2", expect=version)
    assert store.read_snapshot("a").data == b"2"


def test_the_wrong_version_refuses(store: Store) -> None:
    found = store.atomic_write("a", b"1")
    with pytest.raises(VersionConflict) as caught:
        store.atomic_write("a", b"2", expect=Version("other"))
    assert (caught.value.expected, caught.value.found) == ("other", found)
    assert store.read_snapshot("a").data == b"1"


def test_a_version_of_a_document_that_is_gone_refuses(store: Store) -> None:
    with pytest.raises(VersionConflict) as caught:
        store.atomic_write("a", b"2", expect=Version("other"))
    assert caught.value.found is None
    assert store.list_keys() == []


def test_a_condition_under_a_held_lock_takes_no_second_one(store: Store) -> None:
    with store.lock("a") as held:
        store.atomic_write("a", b"1", expect=ABSENT, lock=held)
    assert store.read_snapshot("a").data == b"1"


def test_an_update_gets_none_where_there_is_nothing(store: Store) -> None:
    seen: list[bytes | None] = []

    def change(current: bytes | None) -> bytes:
        seen.append(current)
        return b"new"

    store.update("a", change)
    assert (seen, store.read_snapshot("a").data) == ([None], b"new")


def test_an_update_that_returns_what_it_was_given_writes_nothing(posix: Store, tmp_path: Path) -> None:
    version = posix.atomic_write("a", b"1")
    before = (tmp_path / "a").stat().st_ino
    assert posix.update("a", lambda current: current or b"") == version
    assert (tmp_path / "a").stat().st_ino == before


def test_an_update_under_a_held_lock_uses_it(store: Store) -> None:
    with store.lock("a") as held:
        store.update("a", lambda _: b"1", lock=held)
    assert store.read_snapshot("a").data == b"1"


@pytest.mark.parametrize("data", ["text", None, bytearray(b"x")], ids=["text", "None", "bytearray"])
def test_only_bytes_are_written(store: Store, data: object) -> None:
    with pytest.raises(TypeError, match="bytes"):
        store.atomic_write("a", data)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bytes"):
        store.update("a", lambda _: data)  # type: ignore[arg-type,return-value]
    assert store.list_keys() == []


def test_a_write_under_a_released_lock_is_refused(store: Store) -> None:
    held = store.lock("a")
    held.release()
    with pytest.raises(LockLost):
        store.atomic_write("a", b"1", lock=held)
    assert store.list_keys() == []


def test_a_write_under_another_document_s_lock_is_refused(store: Store) -> None:
    with store.lock("b") as held, pytest.raises(LockLost):
        store.atomic_write("a", b"1", lock=held)


def test_a_write_under_another_store_s_lock_is_refused(store: Store) -> None:
    with open_store("memory://") as other, other.lock("a") as held, pytest.raises(LockLost):
        store.atomic_write("a", b"1", lock=held)


def test_a_released_lock_says_so(store: Store) -> None:
    held = store.lock("a")
    held.ensure_held()
    held.release()
    with pytest.raises(LockLost):
        held.ensure_held()


def test_the_owner_of_a_lock_says_what_it_is_for(store: Store) -> None:
    with store.lock("a", purpose="re-sync") as held:
        assert (held.key, held.owner.purpose) == ("a", "re-sync")


def test_keys_are_listed_at_any_depth_in_order_without_the_store_s_own_files(store: Store) -> None:
    for key in ("b", "a/x/2", "a/1", "ab"):
        store.update(key, lambda _: b"")
    assert store.list_keys() == ["a/1", "a/x/2", "ab", "b"]


def test_a_folder_s_keys_are_listed_without_its_namesakes(store: Store) -> None:
    for key in ("a/1", "a/x/2", "ab"):
        store.atomic_write(key, b"")
    assert store.list_keys("a") == ["a/1", "a/x/2"]


def test_a_deleted_document_is_gone(store: Store) -> None:
    store.atomic_write("a", b"1")
    store.delete("a")
    assert store.list_keys() == []


def test_deleting_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(DocumentNotFound):
        store.delete("a")


def test_deleting_at_the_wrong_version_is_refused(store: Store) -> None:
    store.atomic_write("a", b"1")
    with pytest.raises(VersionConflict):
        store.delete("a", expect=Version("other"))
    assert store.list_keys() == ["a"]


def test_deleting_at_the_right_version_deletes(store: Store) -> None:
    store.delete("a", expect=store.atomic_write("a", b"1"))
    assert store.list_keys() == []


def test_deleting_what_must_be_absent_makes_no_sense(store: Store) -> None:
    with pytest.raises(ValueError, match="ABSENT"):
        store.delete("a", expect=ABSENT)


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(NotSupported, match="the store is closed"):
        store.read_snapshot("a")


def test_a_path_is_the_store_s_verbs_without_the_key(store: Store) -> None:
    path = store / "a" / "b.json"
    assert (path.key, path.name, path.store) == ("a/b.json", "b.json", store)
    version = path.atomic_write(b"1")
    assert path.read_snapshot().version == version
    path.update(lambda _: b"2")
    with path.lock() as held:
        path.atomic_write(b"3", lock=held)
    assert (store / "a").list_keys() == ["a/b.json"]
    path.delete()
    assert store.list_keys() == []


def test_a_path_with_a_wrong_segment_is_refused_when_it_is_made(store: Store) -> None:
    with pytest.raises(InvalidKey):
        store / "a" / ".."


def test_paths_are_equal_by_store_and_key(store: Store) -> None:
    assert store / "a" / "b" == StorePath(store, "a/b")
    assert len({store / "a", store / "a", store / "b"}) == 2


def test_a_sibling_of_a_path_has_another_name(store: Store) -> None:
    assert (store / "a" / "b").with_name("c").key == "a/c"


def test_requiring_more_than_is_offered_fails_when_the_store_is_opened() -> None:
    required = Guarantees.at_least(durable=True, lock_scope="site")
    with pytest.raises(GuaranteeNotMet, match="durable must be True and is False; lock_scope must be 'site'"):
        open_store("memory://", require=required)


def test_requiring_what_is_offered_opens() -> None:
    with open_store("memory://", require=Guarantees.at_least(fenced=True, conditional_write="locked")):
        pass


def test_a_requirement_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="lock_scope is 'galaxy'"):
        Guarantees.at_least(lock_scope="galaxy")  # type: ignore[arg-type]


def test_a_store_of_a_name_in_memory_is_shared_and_has_folders() -> None:
    with open_store("memory://shared-by-two") as one, open_store("memory://shared-by-two/folder") as other:
        one.atomic_write("folder/a", b"1")
        assert other.read_snapshot("a").data == b"1"
        assert other.list_keys() == ["a"]


def test_options_that_a_backend_does_not_know_are_refused(tmp_path: Path) -> None:
    for location in ("memory://", str(tmp_path)):
        with pytest.raises(ValueError, match="no option 'usernme'"):
            open_store(location, usernme="svc")


def test_a_location_and_a_backend_are_not_both_given() -> None:
    with pytest.raises(TypeError):
        open_store("memory://", backend=object())  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        open_store()  # type: ignore[call-overload]


def test_a_store_is_shared_by_threads(store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                store.atomic_write(f"{number}", f"{turn}".encode())
                store.read_snapshot(f"{number}")
        except BaseException as error:  # the thread's end would hide it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_snapshot_says_how_long_it_is_and_shows_no_content() -> None:
    snapshot = Snapshot(b"precious")
    assert len(snapshot) == 8
    assert "precious" not in repr(snapshot)


def test_the_snapshot_of_an_empty_document_is_true() -> None:
    assert Snapshot(b"")


def test_snapshots_are_equal_by_content() -> None:
    assert Snapshot(b"1") == Snapshot(b"1") != Snapshot(b"2")
    assert len({Snapshot(b"1"), Snapshot(b"1")}) == 1


def test_an_update_does_not_lose_a_compare_and_swap_that_comes_in_between(memory: Store) -> None:
    version = memory.atomic_write("a", b"1")
    seen: list[bytes | None] = []

    def change(current: bytes | None) -> bytes:
        if not seen:
            memory.atomic_write("a", b"2", expect=version)  # as another program does, without the lock
        seen.append(current)
        return (current or b"") + b"+"

    memory.update("a", change)
    assert (seen, memory.read_snapshot("a").data) == ([b"1", b"2"], b"2+")


def test_a_store_error_of_a_signal_handler_leaves_no_lock_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def strike(*_: object) -> NoReturn:
        raise LockTimeout("of an alarm")

    with monkeypatch.context() as struck:
        struck.setattr("exlab_store.store.UnreleasedLock", strike)
        with pytest.raises(LockTimeout, match="of an alarm"):
            store.lock("a.json")
    store.lock("a.json", timeout=0).release()
