"""Wherever a location is given, no traceback with variables shows its password: in no frame of this package."""

from __future__ import annotations

import asyncio
import typing
from typing import TYPE_CHECKING, Any

import pytest
from frames_of_errors import failure_of, shown_by_frames
from vault import FAILURES, MARK, Vault, urls

from exlab_store import Location, as_document, open_store
from exlab_store.benching import measure
from exlab_store.documents import (
    DocumentKind,
    EquipmentCacheWriter,
    EquipmentJson,
    OfflineCatalogue,
    RunsJson,
    TestRunsJson,
    aread_catalogue,
    awrite_catalogue,
    read_catalogue,
    write_catalogue,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("vault")

_CATALOGUE = OfflineCatalogue("1.0", "STATION", "2026-05-05T14:23:00Z", "https://lims", [])
_EQUIPMENT = EquipmentJson(id="A", label="a", configured_local_root="/", configured_nas_root="/nas")
_RUNS = RunsJson(created_at="2026-04-17T14:00:00Z", project="P", equipment="A")
_TEST_RUNS = TestRunsJson(created_at="2026-04-17T14:00:00Z", project="P", equipment="A")
_KIND = DocumentKind(EquipmentJson, "1.0")


def _change(_: object) -> EquipmentJson:
    if Vault.failing == "change":
        raise ValueError("the program's own")
    return _EQUIPMENT


def _payload(payload: Any) -> Any:
    return object() if Vault.failing == "payload" else payload


_ENTRIES: dict[str, Callable[[str], object]] = {
    "open_store": lambda url: open_store(url, nosuch=1),
    "Location.parse": Location.parse,
    "as_document": lambda url: as_document(url).read_snapshot(),
    "read_catalogue": lambda url: read_catalogue(url, expected_endpoint="https://lims"),
    "write_catalogue": lambda url: write_catalogue(url, _payload(_CATALOGUE)),
    "DocumentKind.read": _KIND.read,
    "DocumentKind.create": lambda url: _KIND.create(url, _payload(_EQUIPMENT)),
    "DocumentKind.write": lambda url: _KIND.write(url, _payload(_EQUIPMENT), timeout=0),
    "DocumentKind.update": lambda url: _KIND.update(url, _change, timeout=0),
    "measure": lambda url: measure(url, seconds=0.01, progress=_refuse),
    "misuse": lambda url: read_catalogue(url),  # type: ignore[call-arg]
    "misuse of update": lambda url: _KIND.update(location=url),  # type: ignore[call-arg]
}

_COROUTINES: dict[str, Callable[[str], typing.Coroutine[Any, Any, object]]] = {
    "aread_catalogue": lambda url: aread_catalogue(url, expected_endpoint="https://lims"),
    "awrite_catalogue": lambda url: awrite_catalogue(url, _payload(_CATALOGUE)),
    "DocumentKind.aread": _KIND.aread,
    "DocumentKind.acreate": lambda url: _KIND.acreate(url, _payload(_EQUIPMENT)),
    "DocumentKind.awrite": lambda url: _KIND.awrite(url, _payload(_EQUIPMENT), timeout=0),
    "DocumentKind.aupdate": lambda url: _KIND.aupdate(url, _change, timeout=0),
    "write_equipment": lambda url: EquipmentCacheWriter(lock_timeout=0).write_equipment(url, _payload(_EQUIPMENT)),
    "read_equipment": lambda url: EquipmentCacheWriter(lock_timeout=0).read_equipment(url),
    "write_test_runs_marker": lambda url: EquipmentCacheWriter(lock_timeout=0).write_test_runs_marker(
        url, _payload(_TEST_RUNS)
    ),
    "read_test_runs_marker": lambda url: EquipmentCacheWriter(lock_timeout=0).read_test_runs_marker(url),
    "write_runs_marker": lambda url: EquipmentCacheWriter(lock_timeout=0).write_runs_marker(url, _payload(_RUNS)),
    "read_runs_marker": lambda url: EquipmentCacheWriter(lock_timeout=0).read_runs_marker(url),
}


def _refuse(*_: object) -> None:
    raise RuntimeError("the program's own")


def _ensure_hidden(name: str, call: Callable[[str], object], number: int) -> None:
    """At least half of the calls fail, wherever they do."""
    failed = 0
    for seed, Vault.failing in enumerate(FAILURES):
        for url in urls(max(1, number // len(FAILURES)), seed):
            error = failure_of(lambda url=url: call(url))  # type: ignore[misc]
            if error is not None:
                failed += 1
                shown = shown_by_frames(error, rich=failed % 20 == 1)
                assert MARK not in shown, [line for line in shown.splitlines() if MARK in line]
    assert failed > number / 3


_NUMBERS = [40, pytest.param(10_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("number", _NUMBERS)
@pytest.mark.parametrize("name", _ENTRIES)
def test_no_frame_shows_the_password_of_a_location(name: str, number: int) -> None:
    _ensure_hidden(name, _ENTRIES[name], number)


@pytest.mark.parametrize("number", _NUMBERS)
@pytest.mark.parametrize("name", _COROUTINES)
def test_no_frame_of_a_coroutine_shows_the_password_of_a_location(name: str, number: int) -> None:
    with asyncio.Runner() as loop:
        _ensure_hidden(name, lambda url: loop.run(_COROUTINES[name](url)), number)
