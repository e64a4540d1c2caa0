"""Observers: what they are told of each attempt, how they are found, and what they cost when there are none."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import lacking

from exlab_store import (
    ABSENT,
    BackendUnavailable,
    ConfigError,
    Guarantees,
    Location,
    Observation,
    Observer,
    PluginError,
    Retry,
    Snapshot,
    StoreError,
    Version,
    hookimpl,
    open_store,
)
from exlab_store.observers import LogObserver, TraceObserver

# Signatures without annotations: backends of third parties need none.
# mypy: disable-error-code="no-untyped-def"

DISTRIBUTIONS = Path(__file__).parents[1] / "distributions"
FIELDS = ("operation", "key", "backend", "location", "attempt", "duration", "size", "outcome")


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records() -> Generator[list[logging.LogRecord]]:
    """What is logged with the logger ``exlab_store``."""
    logger, kept = logging.getLogger("exlab_store"), _Kept()
    level = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    yield kept.records
    logger.setLevel(level)
    logger.removeHandler(kept)


# As the registry makes them; no server is needed for what they say of it.
WITH_PASSWORD = Location.parse("smb://svc:s3cret@nas01/lab")


def _told(records: list[logging.LogRecord], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(record, f"store_{name}") for name in names) for record in records]


class Tired:
    """A backend that is unavailable a few times before each thing it does."""

    guarantees = Guarantees(atomic_replace=True)

    def __init__(self, refusals: int = 2) -> None:
        self.refusals = refusals

    def close(self):
        pass

    def _wake(self):
        if self.refusals:
            self.refusals -= 1
            raise BackendUnavailable("tired")

    @hookimpl
    def read_snapshot(self, key):
        self._wake()
        return Snapshot(b"12345")

    @hookimpl
    def atomic_write(self, key, data, expect, lock):
        self._wake()
        return Version("1")

    @hookimpl
    def lock(self, key, owner, timeout, cancelled):
        raise AssertionError


# The log


def test_each_operation_is_one_record(tmp_path: Path, records: list[logging.LogRecord]) -> None:
    with open_store(tmp_path, observers=["log"]) as store:
        store.atomic_write("a/k", b"12345")
        store.read_snapshot("a/k")
        store.list_keys("a")
        with store.lock("a/k"):
            pass
        store.delete("a/k")
    assert _told(records, "operation", "key", "size", "outcome", "attempt") == [
        ("atomic_write", "a/k", 5, "done", 1),
        ("read_snapshot", "a/k", 5, "done", 1),
        ("list_keys", "a", 1, "done", 1),
        ("lock", "a/k", None, "done", 1),
        ("delete", "a/k", None, "done", 1),
    ]
    assert {record.name for record in records} == {"exlab_store"}
    assert {record.levelno for record in records} == {logging.INFO}
    assert set(_told(records, "backend", "location")) == {("file", f"file://{tmp_path}")}
    assert all(0 <= duration < 10 for (duration,) in _told(records, "duration"))
    assert records[0].getMessage().startswith(f"atomic_write a/k in file://{tmp_path}: done in ")
    assert records[0].getMessage().endswith(" ms, 5 bytes")
    for record in records:
        assert {name for name in vars(record) if name.startswith("store_")} == {f"store_{name}" for name in FIELDS}


def test_an_update_is_its_steps(records: list[logging.LogRecord]) -> None:
    with open_store("memory://", observers=["log"]) as store:
        store.update("k", lambda stored: b"1")
        store.update("k", lambda stored: stored or b"")
    assert [name for (name,) in _told(records, "operation")] == [
        *("lock", "read_snapshot", "atomic_write"),
        *("lock", "read_snapshot"),
    ]


def test_the_files_of_a_store_s_keeper_are_watched_too(tmp_path: Path, records: list[logging.LogRecord]) -> None:
    with open_store(tmp_path, observers=["log"]) as store:
        store.update("k", lambda stored: b"1")
        found = store.list_leftovers()
        (tmp_path / "k.tmp.1.0123456789abcdef").write_bytes(b"")
        (leftover,) = (each for each in store.list_leftovers() if each.kind == "temporary")
        store.remove_leftover(leftover)
    assert [leftover.kind for leftover in found] == ["lock"]
    assert _told(records, "operation", "key", "size")[-3:] == [
        ("list_leftovers", "", 1),
        ("list_leftovers", "", 2),
        ("remove_leftover", leftover.name, None),
    ]


def test_an_observer_claims_nothing_for_the_backend(records: list[logging.LogRecord]) -> None:
    store = open_store(backend=Tired(0), observers=["log"])
    for refused in (store.list_leftovers, store.list_keys, lambda: store.delete("k")):
        with pytest.raises(StoreError) as caught:
            refused()
        assert caught.value.code == "not_supported"
    assert records == []


def test_what_fails_is_a_record_with_its_code(tmp_path: Path, records: list[logging.LogRecord]) -> None:
    (tmp_path / "folder").mkdir()
    with open_store(tmp_path, observers=["log"]) as store:
        store.atomic_write("k", b"1")
        for wrong in (
            lambda: store.read_snapshot("missing"),
            lambda: store.atomic_write("k", b"", expect=ABSENT),
            lambda: store.read_snapshot("folder"),
        ):
            with pytest.raises(StoreError):
                wrong()
    told = [row for row in _told(records, "operation", "outcome") if row[0] != "lock"]
    assert told[1:] == [
        ("read_snapshot", "document_not_found"),
        ("atomic_write", "document_exists"),
        ("read_snapshot", "invalid_key"),
    ]
    # What programs run into every day is no reason to worry.
    assert [record.levelno for record in records][-1] == logging.WARNING
    assert {record.levelno for record in records[:-1]} == {logging.INFO}


def test_each_attempt_is_a_record(records: list[logging.LogRecord]) -> None:
    store = open_store(backend=Tired(2), observers=["log"], retry=Retry(wait=0))
    store.read_snapshot("k")
    store.read_snapshot("k")
    assert _told(records, "attempt", "outcome", "size") == [
        (1, "backend_unavailable", None),
        (2, "backend_unavailable", None),
        (3, "done", 5),
        (1, "done", 5),
    ]
    assert records[1].getMessage().endswith("attempt 2")
    assert [record.levelno for record in records[:3]] == [logging.WARNING, logging.WARNING, logging.INFO]


def test_attempts_are_counted_in_coroutines_too(records: list[logging.LogRecord]) -> None:
    store = open_store(backend=Tired(2), observers=["log"], retry=Retry(wait=0))

    async def read_both() -> None:
        await store.aio.read_snapshot("k")
        await asyncio.gather(*(store.aio.read_snapshot(f"k{number}") for number in range(3)))

    asyncio.run(read_both())
    assert _told(records, "attempt")[:3] == [(1,), (2,), (3,)]
    assert _told(records, "attempt", "outcome")[3:] == [(1, "done")] * 3


def test_what_is_no_store_error_is_told_by_its_type(records: list[logging.LogRecord]) -> None:
    class Broken(Tired):
        @hookimpl
        def read_snapshot(self, key):
            raise KeyError("x")

    with pytest.raises(PluginError):
        open_store(backend=Broken(), observers=["log"]).read_snapshot("k")
    assert _told(records, "outcome") == [("KeyError",)]


def test_a_password_is_in_no_record(records: list[logging.LogRecord], caplog: pytest.LogCaptureFixture) -> None:
    with open_store("memory://", observers=[LogObserver(WITH_PASSWORD)]) as store:
        store.atomic_write("k", b"1")
        with pytest.raises(StoreError):
            store.read_snapshot("missing")
    assert _told(records, "location") == [("smb://svc:***@nas01/lab",)] * 2
    assert "s3cret" not in caplog.text + "".join(repr(vars(record)) for record in records)


def test_a_logger_that_is_off_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="exlab_store"), open_store("memory://", observers=["log"]) as store:
        store.atomic_write("k", b"1")
    assert caplog.records == []


# Observers of others


def _install(target: Path, name: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(DISTRIBUTIONS / name)], check=True, capture_output=True)


def _offer(site: Path, distribution: str, value: str) -> None:
    """Installs a distribution that offers the observer ``nosy``."""
    folder = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[exlab_store.observers]\nnosy = {value}\n")


def test_an_installed_third_party_observer_watches_by_its_name(tmp_path: Path) -> None:
    _install(tmp_path / "site", "watcher")
    (tmp_path / "exlab-store.toml").write_text(f"[stores.lab]\nurl = '{tmp_path}'\nobservers = ['counter', 'log']\n")
    program = (
        "from exlab_store import *\n"
        "with open_store('@lab') as store:\n"
        "    store.atomic_write('k', b'1'); store.read_snapshot('k'); store.read_snapshot('k')\n"
        "from exlab_store_watcher import counted\n"
        "print(*sorted(f'{number} {what}' for what, number in counted.items()), sep='\\n')\n"
        "try: open_store('memory://', observers=['nosy'])\n"
        "except ConfigError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines() == [
        f"1 atomic_write in file://{tmp_path}: done",
        f"2 read_snapshot in file://{tmp_path}: done",
        "memory://: no installed observer is called 'nosy'. Installed: counter, log, otel.",
    ]


@pytest.mark.parametrize(
    ("offers", "said"),
    [
        ({"one": "exlab_store.observers:LogObserver", "two": "somewhere:Else"}, "two observers are called 'nosy': one"),
        ({"one": "a_module_that_nobody_has:Observer"}, "'nosy' of the distribution one cannot be used: ModuleNotFound"),
        ({"one": "builtins:int"}, "cannot be used: TypeError"),
    ],
    ids=["two", "not importable", "not callable with a location"],
)
def test_an_observer_that_is_broken_is_named_with_its_distribution(
    offers: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for distribution, value in offers.items():
        _offer(tmp_path, distribution, value)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match=said):
        open_store("memory://box", observers=["nosy"])


def test_the_first_observer_is_the_outermost() -> None:
    order: list[str] = []

    class Named(Observer):
        def __init__(self, name: str) -> None:
            super().__init__(None)
            self._name = name

        @contextmanager
        def around(self, observation: Observation) -> Generator[None]:
            order.append(f"{self._name} begins")
            yield
            order.append(f"{self._name} ends")

    with open_store("memory://", observers=[Named("a"), Named("b")]) as store:
        store.atomic_write("k", b"")
    assert order == ["a begins", "b begins", "b ends", "a ends"]


@pytest.mark.parametrize("when", ["at once", "before", "after"])
def test_an_observer_that_fails_changes_nothing(when: str, records: list[logging.LogRecord]) -> None:
    class Faulty(Observer):
        def around(self, observation: Observation) -> Any:
            if when == "at once":
                raise RuntimeError("the observer's own")
            return self._around()

        @contextmanager
        def _around(self) -> Generator[None]:
            if when == "before":
                raise RuntimeError("the observer's own")
            try:
                yield
            finally:
                raise RuntimeError("the observer's own")

    with open_store("memory://", observers=[Faulty(None)]) as store:
        store.atomic_write("k", b"1")
        assert store.read_snapshot("k").data == b"1"
        with pytest.raises(StoreError, match="no such document"):
            store.read_snapshot("missing")
    assert [record.levelno for record in records] == [logging.ERROR] * 3
    assert "Faulty failed: RuntimeError: the observer's own" in records[0].getMessage()


def test_an_observer_cannot_hide_an_error() -> None:
    class Hiding(Observer):
        @contextmanager
        def around(self, observation: Observation) -> Generator[None]:
            try:
                yield
            except StoreError:
                pass

    with open_store("memory://", observers=[Hiding(None)]) as store, pytest.raises(StoreError):
        store.read_snapshot("missing")


# OpenTelemetry


@pytest.fixture(scope="module")
def telemetry() -> tuple[Any, Any]:
    """Where spans and measurements end up in this process: OpenTelemetry takes one for each, once."""
    try:
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    except ImportError:
        lacking("install opentelemetry-sdk to see what is traced")
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    return spans, reader


def test_each_attempt_is_a_span_and_a_measurement(telemetry: tuple[Any, Any]) -> None:
    from opentelemetry import trace

    spans, reader = telemetry
    spans.clear()
    with open_store("memory://", observers=[TraceObserver(WITH_PASSWORD)]) as store:
        with trace.get_tracer("a program").start_as_current_span("nightly") as parent:
            store.atomic_write("k", b"12345")
        with pytest.raises(StoreError):
            store.read_snapshot("missing")
    tired = open_store(backend=Tired(1), observers=["otel"], retry=Retry(wait=0))
    tired.read_snapshot("k")
    finished = [span for span in spans.get_finished_spans() if span.name.startswith("exlab_store.")]
    assert [
        (span.name, span.attributes["exlab_store.outcome"], span.attributes["exlab_store.attempt"], span.status.is_ok)
        for span in finished
    ] == [
        ("exlab_store.atomic_write", "done", 1, True),
        ("exlab_store.read_snapshot", "document_not_found", 1, True),
        ("exlab_store.read_snapshot", "backend_unavailable", 1, False),
        ("exlab_store.read_snapshot", "done", 2, True),
    ]
    assert dict(finished[0].attributes) == {
        "exlab_store.operation": "atomic_write",
        "exlab_store.backend": "smb",
        "exlab_store.key": "k",
        "exlab_store.location": "smb://svc:***@nas01/lab",
        "exlab_store.attempt": 1,
        "exlab_store.outcome": "done",
        "exlab_store.size": 5,
    }
    assert finished[0].parent.span_id == parent.get_span_context().span_id
    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit) == ("exlab_store.operation.duration", "s")
    counts = {
        (point.attributes["exlab_store.backend"], point.attributes["exlab_store.outcome"]): point.count
        for point in metric.data.data_points
    }
    assert counts == {
        ("smb", "done"): 1,
        ("smb", "document_not_found"): 1,
        ("", "backend_unavailable"): 1,
        ("", "done"): 1,
    }
    # A histogram with the keys would grow with each document.
    assert all("exlab_store.key" not in point.attributes for point in metric.data.data_points)


def test_without_opentelemetry_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigError, match="the observer 'otel' needs what is not installed") as caught:
        open_store("memory://", observers=["otel"])
    assert caught.value.hint == "pip install 'exlab-store[otel]'"


# None


def test_without_observers_nothing_is_loaded_and_nothing_is_in_between(tmp_path: Path) -> None:
    program = (
        "import sys; from exlab_store import open_store\n"
        f"store = open_store({os.fspath(tmp_path)!r}); store.atomic_write('k', b'1'); store.read_snapshot('k')\n"
        "print(sorted({'exlab_store.observers', 'opentelemetry', 'tomllib'} & set(sys.modules)))\n"
        "print(store._hooks._read_snapshot.__self__.__class__.__name__)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    # The hook is the backend's own method, called without a detour.
    assert result.stdout == "[]\nPosixBackend\n"
