"""Who excludes whom: a store or filelock, on the server, over `smb:`, on an NFS mount and on a cifs mount.

The table is that of the page "Work beside filelock"; each cell of it is a test.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import pytest

from exlab_store import LockTimeout, open_store
from mounts.machines import A, B, Machine, Site, new_site

pytestmark = pytest.mark.one_interpreter

_PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/work-beside-filelock.md"
_KEY = "d.json"

_Way = Callable[[Site, Machine], Callable[[], None]]
"""Takes the lock of a folder's document, in a folder that this machine has mounted, and returns what releases it."""


class Refused(Exception):
    """Somebody else holds the lock."""


def _store(location: str | Path) -> Callable[[], None]:
    store = open_store(location)
    try:
        held = store.lock(_KEY, timeout=0)
    except LockTimeout as held_by_another:
        store.close()
        raise Refused from held_by_another

    def release() -> None:
        held.release()
        store.close()

    return release


def _filelock(folder: Path) -> Callable[[], None]:
    lock = filelock.FileLock(folder / f"{_KEY}.lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as held_by_another:
        raise Refused from held_by_another
    return lock.release


def _on_a_mount(kind: str, how: Callable[[Path], Callable[[], None]]) -> _Way:
    return lambda site, machine: how(machine.mount(kind) / site.name)


def _mounted(*kinds: str) -> dict[str, _Way]:
    ways = {"a store": _store, "FileLock": _filelock}
    return {f"{word} on {kind}": _on_a_mount(kind, how) for kind in kinds for word, how in ways.items()}


_WAYS: dict[str, dict[str, _Way]] = {
    "store on the server": {"a store on the server": lambda site, machine: _store(site.server)},
    "`FileLock` on the server": {"FileLock on the server": lambda site, machine: _filelock(site.server)},
    "`smb:`": {"a store over smb:": lambda site, machine: _store(site.smb)},
    "NFS mount": _mounted("nfs-4.2", "nfs-3"),
    "cifs mount": _mounted("cifs-strict"),
    "cifs mount, no leases on lock files": _mounted("cifs-mixed", "cifs-nolease"),
}


def _cells() -> Iterator[tuple[str, str, bool]]:
    """The cells of the page's table: who holds the lock, who asks for it, and whether the latter is refused."""
    lines = iter(_PAGE.read_text(encoding="utf-8").splitlines())
    _, *columns = next(_words(line) for line in lines if line.startswith("| Holds it"))
    next(lines)
    for line in itertools.takewhile(lambda line: line.startswith("|"), lines):
        holder, *cells = _words(line)
        yield from ((holder, other, cell == "yes") for other, cell in zip(columns, cells, strict=True))


def _words(line: str) -> list[str]:
    return [word.strip().strip("*") for word in line.strip().strip("|").split("|")]


def _is_refused(site: Site, holder: _Way, other: _Way) -> bool:
    release = holder(site, A)
    try:
        # In a thread of its own: one that asks for what it holds itself is told so.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: other(site, B)()).result()
    except Refused:
        return True
    finally:
        release()
    return False


def test_the_table_has_each_way_in_a_row_and_in_a_column() -> None:
    assert [cell[:2] for cell in _cells()] == list(itertools.product(_WAYS, repeat=2))


@pytest.mark.parametrize(("holder", "other", "refused"), list(_cells()))
def test_who_excludes_whom_is_as_the_page_says(holder: str, other: str, refused: bool) -> None:
    pairs = itertools.product(_WAYS[holder].items(), _WAYS[other].items())
    found = {
        f"{first} holds, {second} asks": _is_refused(new_site("nfs-4.2"), hold, ask)
        for (first, hold), (second, ask) in pairs
    }
    assert found == dict.fromkeys(found, refused)
