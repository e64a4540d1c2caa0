"""Sites to be moved, and what they hold."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store

ODD = {
    "empty.json": b"",
    "octets.bin": b"\x00\r\n\xff" * 10,
    "Messung Größe/µ-RAMAN 02/Prüfung  a.json": b'{"a":"\xc3\xa4"}',
    f"deep/{'d' * 200}/{'n' * 240}.json": b"{}",
    "large.json": bytes(range(256)) * 10_000,
}


def documents(count: int) -> dict[str, bytes]:
    """As many documents as that, in folders of instruments; some are odd."""
    source = random.Random(count)
    plain = {
        f"INSTRUMENT_{number % 20:02}/.exlab-wizard/runs-{number}.json": b'{"run":%d,"x":"%s"}'
        % (number, source.randbytes(200).hex().encode())
        for number in range(count - len(ODD))
    }
    return plain | ODD


def fill(store: Store, held: dict[str, bytes]) -> dict[str, bytes]:
    """Writes documents."""
    for key, data in held.items():
        store.atomic_write(key, data)
    return held


def fill_directory(directory: Path, held: dict[str, bytes]) -> dict[str, bytes]:
    """Writes documents as another program would, without flushing them: for many."""
    for key, data in held.items():
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return held


def contents(store: Store) -> dict[str, bytes]:
    """All that a store lists."""
    return {key: store.read_snapshot(key).data for key in store.list_keys()}
