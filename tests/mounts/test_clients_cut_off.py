"""A client whose network is cut while it holds a lock does not undo what its successor has written, once it is back."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from exlab_store import StoreError, open_store
from mounts.machines import A, Site

pytestmark = pytest.mark.one_interpreter

_PATIENCE = 240.0  # seconds; a lock of a vanished client is free after 10 to 15 s on an idle machine


def _await(path: Path) -> None:
    over = time.monotonic() + _PATIENCE
    while not path.exists():
        assert time.monotonic() < over, path
        time.sleep(0.01)


def _append_when_told(location: str, keys: list[str], signals: str) -> dict[str, str]:
    """Begins an update of each document, holds all locks until it is told to go on, and says how each update ended."""
    holding = count(1)

    def append(key: str) -> str:
        calls = count()

        def change(data: bytes | None) -> bytes:
            if next(calls) == 0:
                if next(holding) == len(keys):
                    Path(signals, "holding").touch()
                _await(Path(signals, "resume"))
            return (data or b"") + b"first "

        try:
            store.update(key, change, timeout=_PATIENCE)
        except StoreError as error:
            return type(error).__name__
        return "written"

    with open_store(location) as store, ThreadPoolExecutor(len(keys)) as threads:
        return dict(zip(keys, threads.map(append, keys), strict=True))


@pytest.mark.parametrize(
    ("cuts", "documents"), [pytest.param(1, 5, id="short"), pytest.param(10, 20, id="long", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "kind",
    [
        *("nfs-4.2", "cifs-strict"),
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("nfs-4.0", "cifs-none")),
    ],
)
def test_what_the_successor_of_a_client_that_was_cut_off_has_written_stands(
    site: Site, tmp_path: Path, cuts: int, documents: int
) -> None:
    outcomes, waits, lost = Counter[str](), list[float](), list[str]()
    with A.pool() as a, open_store(site.b) as successor:
        for cut in range(cuts):
            signals = tmp_path / str(cut)
            signals.mkdir()
            keys = [f"{cut}/{number}.json" for number in range(documents)]
            for key in keys:
                successor.atomic_write(key, b"")
            cut_off = a.submit(_append_when_told, str(site.a), keys, str(signals))
            _await(signals / "holding")
            try:
                A.cut()
                began = time.monotonic()
                for key in keys:
                    successor.update(key, lambda data: (data or b"") + b"second ", timeout=_PATIENCE)
                waits.append(time.monotonic() - began)
            finally:
                A.restore()
                (signals / "resume").touch()
            for key, outcome in cut_off.result(_PATIENCE).items():
                outcomes[outcome] += 1
                text = (site.server / key).read_bytes().decode()
                if text != ("second first " if outcome == "written" else "second "):
                    lost.append(f"{key}: {outcome}, {text!r}")
    print(f"{site.kind}: free after {min(waits):.1f} to {max(waits):.1f} s; {dict(outcomes)}")
    assert lost == []
