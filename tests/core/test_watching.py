"""A watch of a store: what is told, what ends it, and what it makes of a storage that fails."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest
import waiting
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory, MemoryChangeSource

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    Change,
    DocumentNotFound,
    Guarantees,
    InvalidKey,
    NotSupported,
    PluginError,
    Snapshot,
    Store,
    hookimpl,
    open_store,
    version_of,
)
from exlab_store.watching.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ONE, TWO = version_of(b"1"), version_of(b"2")
PATIENCE = 20.0


@pytest.fixture
def memory() -> Memory:
    return Memory()


class Fragile(MemoryBackend):
    """In memory, and fails as it is told to."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.raises: dict[str, Exception] = {}
        self.opened = 0
        self.closed = 0
        self.on_read: Callable[[str], object] = lambda _: None

    def maybe_raise(self, what: str) -> None:
        if what in self.raises:
            raise self.raises[what]

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        self.maybe_raise(f"read {key}")
        self.on_read(key)
        return super().read_snapshot(key)

    @hookimpl
    def watch_changes(self, prefix: str) -> MemoryChangeSource:
        self.maybe_raise("watch")
        self.opened += 1
        return FragileSource(self, super().watch_changes(prefix))


class FragileSource(MemoryChangeSource):
    def __init__(self, backend: Fragile, sound: MemoryChangeSource) -> None:
        self.backend = backend
        self.sound = sound

    def wait(self, timeout: float, cancelled: Callable[[], bool]) -> list[str]:
        self.backend.maybe_raise("wait")
        return self.sound.wait(min(timeout, 0.05), cancelled)

    def close(self) -> None:
        self.backend.closed += 1
        self.sound.close()
        self.backend.maybe_raise("close")


class Polled(MemoryBackend):
    guarantees = msgspec.structs.replace(MemoryBackend.guarantees, watch="none")


@pytest.fixture
def fragile(memory: Memory) -> Fragile:
    return Fragile(memory)


@pytest.fixture
def store(fragile: Fragile) -> Iterator[Store]:
    with open_store(backend=fragile, retry=None) as opened:
        yield opened


@pytest.fixture
def other(memory: Memory) -> Iterator[Store]:
    with open_store(backend=MemoryBackend(memory)) as opened:
        yield opened


# What is told


def test_what_is_known_is_what_was_given_out_and_can_be_watched_on_from(store: Store, other: Store) -> None:
    other.atomic_write("a", b"1")
    with store.watch(since={}, timeout=PATIENCE) as stream:
        assert next(stream) == Change("a", "written", ONE)
        other.atomic_write("b", b"1")
        other.atomic_write("c", b"1")
        assert next(stream) == Change("b", "written", ONE)
        known = stream.known
    assert known == {"a": ONE, "b": ONE}
    assert list(store.watch(since=known, timeout=0)) == [Change("c", "written", ONE)]


def test_a_document_that_is_written_with_the_same_bytes_is_not_told(store: Store, other: Store) -> None:
    other.atomic_write("a", b"1")
    with store.watch(timeout=0.1) as stream:
        other.atomic_write("a", b"1")
        assert list(stream) == []


def test_several_changes_before_the_next_look_are_told_as_one(store: Store, other: Store) -> None:
    with store.watch(timeout=PATIENCE) as stream:
        other.atomic_write("a", b"1")
        other.atomic_write("a", b"2")
        assert next(stream) == Change("a", "written", TWO)
        other.delete("a")
        other.atomic_write("a", b"2")
        other.atomic_write("end", b"")
        assert next(stream).key == "end"


def test_a_document_that_may_not_be_read_is_told_once_without_a_version(
    store: Store, fragile: Fragile, other: Store
) -> None:
    fragile.raises["read a"] = AccessDenied("closed")
    with store.watch(timeout=0.2) as stream:
        other.atomic_write("a", b"1")
        assert next(stream) == Change("a", "written", None)
        other.atomic_write("a", b"2")
        assert list(stream) == []


def test_a_document_that_is_overlooked_once_is_not_told_as_deleted(
    store: Store, fragile: Fragile, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    sound = fragile.maybe_raise

    def overlook(what: str) -> None:
        sound(what)
        if what == "read a":
            looks.append(what)
            if len(looks) == 2:  # the first after the watch has begun
                raise DocumentNotFound("overlooked")

    other.atomic_write("a", b"1")
    monkeypatch.setattr(fragile, "maybe_raise", overlook)
    with store.watch(timeout=PATIENCE) as stream:
        other.atomic_write("a", b"2")
        assert next(stream) == Change("a", "written", TWO)


def test_a_document_in_the_place_of_a_folder_is_told_with_what_was_in_that(store: Store, other: Store) -> None:
    other.atomic_write("a/b", b"1")
    with store.watch(timeout=PATIENCE) as stream:
        other.delete("a/b")
        other.atomic_write("a", b"1")
        assert {next(stream), next(stream)} == {Change("a", "written", ONE), Change("a/b", "deleted")}


def test_a_pattern_that_no_key_fits_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="no key has"):
        store.watch(pattern="a//b")


def test_a_path_watches_its_folder(store: Store, other: Store) -> None:
    with (store / "a").watch(timeout=PATIENCE, pattern="*.json") as stream:
        for key in ("b.json", "a/b", "a/b.json"):
            other.atomic_write(key, b"1")
        assert next(stream).key == "a/b.json"


# What is refused


@pytest.mark.parametrize("interval", [0, -1, float("inf"), float("nan")])
def test_an_interval_that_makes_no_sense_is_refused(store: Store, interval: float) -> None:
    with pytest.raises(ValueError, match="interval"):
        store.watch(interval=interval)


def test_a_prefix_that_is_no_key_is_refused(store: Store) -> None:
    with pytest.raises(InvalidKey):
        store.watch("a/../b")


def test_a_backend_that_does_not_list_is_not_watched(memory: Memory) -> None:
    class Unlisted(MemoryBackend):
        guarantees = msgspec.structs.replace(MemoryBackend.guarantees, lists=False, watch="none")

    store = open_store(backend=Unlisted(memory))
    assert store.guarantees.watch == "none"
    with pytest.raises(NotSupported):
        store.watch()


@pytest.mark.parametrize("claims", [Guarantees(watch="pushed"), Guarantees(watch="polled")])
def test_a_backend_that_claims_to_be_watched_and_does_not_list_is_refused(memory: Memory, claims: Guarantees) -> None:
    backend = MemoryBackend(memory)
    backend.guarantees = claims  # type: ignore[misc]
    with pytest.raises(PluginError, match="does not list"):
        open_store(backend=backend)


def test_a_backend_that_claims_to_tell_of_changes_needs_the_hook(memory: Memory) -> None:
    class Pushes(MemoryBackend):
        watch_changes = None  # type: ignore[assignment]

    with pytest.raises(PluginError, match="watch_changes"):
        open_store(backend=Pushes(memory))


def test_a_source_that_returns_no_names_is_a_fault_of_the_plugin(store: Store) -> None:
    stream = store.watch(timeout=PATIENCE)
    source = stream._source
    assert source is not None
    source.inner.wait = lambda *_: "a name"  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="wait of a source"):
        next(stream)


# A storage that fails


def test_a_lost_connection_is_made_again_and_what_happened_meanwhile_is_told(
    store: Store, fragile: Fragile, other: Store
) -> None:
    with store.watch(timeout=PATIENCE) as stream:
        fragile.raises["wait"] = BackendUnavailable("cut")
        # The connection is closed when it was found to be cut.
        mending = threading.Thread(target=lambda: (waiting.eventually(lambda: fragile.closed), fragile.raises.clear()))
        mending.start()
        other.atomic_write("a", b"1")
        assert next(stream) == Change("a", "written", ONE)
        other.atomic_write("a", b"2")
        assert next(stream) == Change("a", "written", TWO)
    mending.join()
    assert fragile.opened == fragile.closed > 1


def test_an_outage_is_raised_and_whoever_asks_again_misses_nothing(
    store: Store, fragile: Fragile, other: Store
) -> None:
    with store.watch(timeout=PATIENCE) as stream:
        fragile.raises = {"wait": BackendUnavailable("cut"), "watch": BackendUnavailable("down")}
        with pytest.raises(BackendUnavailable, match="down"):
            next(stream)
        other.atomic_write("a", b"1")
        fragile.raises.clear()
        assert next(stream) == Change("a", "written", ONE)


def test_an_outage_is_told_to_whoever_wants_to_know_and_the_watch_goes_on(
    store: Store, fragile: Fragile, other: Store
) -> None:
    seen: list[str] = []

    def note(error: Exception) -> None:
        seen.append(str(error))
        if len(seen) == 3:
            other.atomic_write("a", b"1")
            fragile.raises.clear()

    with store.watch(timeout=PATIENCE, onerror=note) as stream:
        fragile.raises = {"wait": BackendUnavailable("cut"), "watch": BackendUnavailable("down")}
        assert next(stream) == Change("a", "written", ONE)
    assert len(seen) == 3


def test_an_outage_that_lasts_beyond_the_time_ends_the_watch(store: Store, fragile: Fragile) -> None:
    seen: list[Exception] = []
    with store.watch(timeout=0.2, onerror=seen.append) as stream:
        fragile.raises = {"wait": BackendUnavailable("cut"), "watch": BackendUnavailable("down")}
        assert list(stream) == []
    assert seen


def test_a_document_that_cannot_be_read_for_a_while_is_told_when_it_can(
    store: Store, fragile: Fragile, other: Store
) -> None:
    with store.watch(timeout=PATIENCE) as stream:
        fragile.raises["read b"] = BackendUnavailable("down")
        for key in ("a", "b", "c"):
            other.atomic_write(key, b"1")
        with pytest.raises(BackendUnavailable):
            list(stream)
        fragile.raises.clear()
        told = {next(stream).key for _ in range(len("abc") - len(stream.known))}
        assert told | set(stream.known) == {"a", "b", "c"}


def test_a_storage_that_cannot_tell_at_present_is_polled_and_that_is_logged(
    store: Store, fragile: Fragile, other: Store, caplog: pytest.LogCaptureFixture
) -> None:
    fragile.raises["watch"] = NotSupported("no more watches")
    with store.watch(timeout=PATIENCE, interval=0.01) as stream:
        assert stream.mode == "polled"
        other.atomic_write("a", b"1")
        assert next(stream) == Change("a", "written", ONE)
    assert "no more watches" in caplog.text


def test_a_storage_that_can_tell_no_more_is_polled_from_then_on(store: Store, fragile: Fragile, other: Store) -> None:
    with store.watch(timeout=PATIENCE, interval=0.01) as stream:
        assert stream.mode == "pushed"
        fragile.raises["wait"] = NotSupported("too many folders")
        other.atomic_write("a", b"1")
        assert next(stream) == Change("a", "written", ONE)
        assert stream.mode == "polled"


def test_a_source_that_may_miss_changes_is_looked_beside(fragile: Fragile, memory: Memory, store: Store) -> None:
    FragileSource.complete = False  # type: ignore[misc]
    try:
        with store.watch(timeout=PATIENCE, interval=0.001) as stream:
            memory.documents["unheard"] = b"1"
            assert next(stream) == Change("unheard", "written", ONE)
    finally:
        del FragileSource.complete
    assert fragile.opened == 1


def test_a_backend_that_lists_is_polled(memory: Memory, other: Store) -> None:
    store = open_store(backend=Polled(memory))
    assert store.guarantees.watch == "polled"
    with store.watch(timeout=PATIENCE, interval=0.01) as stream:
        other.atomic_write("a", b"1")
        assert (next(stream), stream.mode) == (Change("a", "written", ONE), "polled")
        other.delete("a")
        assert next(stream) == Change("a", "deleted")


def test_the_pause_between_looks_grows_while_nothing_happens() -> None:
    pace = Pace(1.0)
    pauses = [pace.after_look(0.0, changed=False) for _ in range(20)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (1.5, 10.0)
    assert pace.after_look(0.0, changed=True) == 1.0


def test_a_share_that_is_slow_to_look_at_is_left_alone_for_most_of_the_time() -> None:
    pace = Pace(1.0)
    assert pace.after_look(20.0, changed=True) == 60.0
    assert pace.beside_source(100.0) == 300.0


# The end


def test_a_source_is_closed_with_its_watch(store: Store, fragile: Fragile) -> None:
    stream = store.watch()
    stream.close()
    assert (fragile.opened, fragile.closed) == (1, 1)
    with store.watch(timeout=0) as ending:
        assert list(ending) == []
    assert (fragile.opened, fragile.closed) == (2, 2)


def test_a_source_that_cannot_be_closed_ends_no_watch_with_an_error(
    store: Store, fragile: Fragile, caplog: pytest.LogCaptureFixture
) -> None:
    fragile.raises = {"close": OSError("gone")}
    with store.watch(timeout=0) as ending:
        assert list(ending) == []
    assert "could not be given back" in caplog.text


def test_a_look_ends_when_its_watch_is_cancelled(store: Store, fragile: Fragile, other: Store) -> None:
    for number in range(100):
        other.atomic_write(f"{number:03}", b"1")
    stopped = threading.Event()
    read: list[str] = []

    def note(key: str) -> None:
        read.append(key)
        stopped.set()

    fragile.on_read = note
    with store.watch(since={}, cancelled=stopped.is_set) as stream:
        assert list(stream) == []
    assert len(read) == 1


def _asks_in_child(stream: object, answers: object) -> None:
    try:
        next(stream)  # type: ignore[call-overload]
    except NotSupported:
        answers.put("refused")  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_go_on_with_the_watch_of_its_parent(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    with store.watch() as stream:
        child = context.Process(target=_asks_in_child, args=(stream, answers))
        child.start()
        child.join(PATIENCE)
        assert not answers.empty()
        assert answers.get() == "refused"


# Coroutines


def _watch_threads() -> int:
    return sum(thread.name == "exlab-store-watch" for thread in threading.enumerate())


def test_a_task_is_told_of_changes(store: Store, other: Store) -> None:
    async def main() -> list[Change]:
        async with store.aio.watch(timeout=PATIENCE) as stream:
            other.atomic_write("a", b"1")
            first = await anext(stream)
            other.delete("a")
            return [first, await anext(stream)]

    assert asyncio.run(main()) == [Change("a", "written", ONE), Change("a", "deleted")]
    waiting.eventually(lambda: not _watch_threads())


def test_a_watch_of_a_task_ends_with_its_time(store: Store) -> None:
    async def main() -> list[Change]:
        return [change async for change in (store.aio / "a").watch(timeout=0.1)]

    assert asyncio.run(main()) == []
    waiting.eventually(lambda: not _watch_threads())


def test_a_task_that_is_cancelled_while_it_waits_loses_no_change(store: Store, other: Store) -> None:
    async def main() -> Change:
        async with store.aio.watch(timeout=PATIENCE) as stream:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.1)
            other.atomic_write("a", b"1")
            return await anext(stream)

    assert asyncio.run(main()) == Change("a", "written", ONE)


def test_a_task_gets_the_error_and_may_ask_again(store: Store, fragile: Fragile, other: Store) -> None:
    async def main() -> Change:
        async with store.aio.watch(timeout=PATIENCE) as stream:
            fragile.raises = {"wait": BackendUnavailable("cut"), "watch": BackendUnavailable("down")}
            with pytest.raises(BackendUnavailable, match="down"):
                await anext(stream)
            fragile.raises.clear()
            other.atomic_write("a", b"1")
            return await anext(stream)

    assert asyncio.run(main()) == Change("a", "written", ONE)


def test_a_second_task_that_asks_meanwhile_is_refused(store: Store) -> None:
    async def main() -> None:
        async with store.aio.watch() as stream:
            first = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.05)
            with pytest.raises(RuntimeError, match="another task"):
                await anext(stream)
            first.cancel()

    asyncio.run(main())
    waiting.eventually(lambda: not _watch_threads())


def test_a_watch_that_a_task_drops_ends_with_its_thread(store: Store) -> None:
    async def main() -> None:
        stream = store.aio.watch()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.1)

    asyncio.run(main())
    gc.collect()
    waiting.eventually(lambda: not _watch_threads())


def test_a_task_that_waits_ends_when_another_one_closes_the_watch(store: Store, other: Store) -> None:
    async def one_round(number: int) -> None:
        told = asyncio.Event()

        async def listen() -> None:
            async for _ in stream:
                told.set()

        async with store.aio.watch() as stream:
            listener = asyncio.ensure_future(listen())
            other.atomic_write("a", b"%d" % number)
            await told.wait()  # and at this moment it asks for the next change
        await asyncio.wait_for(listener, PATIENCE)

    async def main() -> None:
        for number in range(100):
            await one_round(number)

    asyncio.run(main())


def test_a_task_closes_a_watch_whose_source_cannot_be_closed(store: Store, fragile: Fragile) -> None:
    async def main() -> None:
        async with store.aio.watch():
            fragile.raises = {"close": OSError("gone")}

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
