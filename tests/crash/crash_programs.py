"""The operations that meet a fault at each of their system calls, and some that are wrong on purpose."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from exlab_store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD = b"old " * 3000
NEW = b"NEW! " * 3000

# Without retries: with them most of the faults would be made good again, and what is asked is what one fault does.


def update(place: Path) -> Iterator[None]:
    with open_store(place, retry=None) as store:
        yield
        store.update("a.json", lambda current: NEW)
        yield


def atomic_write(place: Path) -> Iterator[None]:
    with open_store(place, retry=None) as store:
        yield
        store.atomic_write("a.json", NEW)
        yield


def first_write(place: Path) -> Iterator[None]:
    with open_store(place, retry=None) as store:
        yield
        store.atomic_write("lab/rack/shelf/a.json", NEW)
        yield


def first_update(place: Path) -> Iterator[None]:
    with open_store(place, retry=None) as store:
        yield
        store.update("lab/rack/shelf/a.json", lambda current: NEW)
        yield


def delete(place: Path) -> Iterator[None]:
    with open_store(place, retry=None) as store:
        yield
        store.delete("a.json")
        yield


def update_with_much_memory(place: Path) -> Iterator[None]:
    with open_store(place, retry=None) as store:
        yield
        much = bytes(1 << 24)
        store.update("a.json", lambda current: NEW)
        del much
        yield


def lock(place: Path) -> Iterator[None]:
    with open_store(place, retry=None) as store:
        yield
        store.lock("a.json", timeout=0).release()
        yield


def hold_the_lock(place: Path) -> Iterator[None]:
    with open_store(place, retry=None) as store:
        yield
        with store.lock("a.json", timeout=0):
            yield


def update_with_retries(place: Path) -> Iterator[None]:
    with open_store(place) as store:
        yield
        store.update("a.json", lambda current: NEW)
        yield


def in_place(place: Path) -> Iterator[None]:
    yield
    descriptor = os.open(place / "a.json", os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, NEW[:5000])
    os.write(descriptor, NEW[5000:])
    os.fsync(descriptor)
    os.close(descriptor)
    yield


def _replace(path: Path, *, fsync_file: bool = True, fsync_directory: bool = True) -> None:
    temporary = path.with_name("a.json.tmp.1")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o666)
    os.write(descriptor, NEW)
    if fsync_file:
        os.fsync(descriptor)
    os.close(descriptor)
    os.replace(temporary, path)
    if fsync_directory:
        descriptor = os.open(path.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def leaves_its_temporary_file(place: Path) -> Iterator[None]:
    yield
    _replace(place / "a.json")
    yield


def acknowledges_what_failed(place: Path) -> Iterator[None]:
    yield
    try:
        _replace(place / "a.json")
    except OSError:
        (place / "a.json.tmp.1").unlink(missing_ok=True)
    yield


def first_write_without_the_new_directories_fsync(place: Path) -> Iterator[None]:
    yield
    path = place / "lab" / "rack" / "shelf" / "a.json"
    path.parent.mkdir(parents=True)
    _replace(path)
    yield


def write_without_the_directory_s_fsync(place: Path) -> Iterator[None]:
    yield
    _replace(place / "a.json", fsync_directory=False)
    yield


def write_without_the_file_s_fsync(place: Path) -> Iterator[None]:
    yield
    _replace(place / "a.json", fsync_file=False)
    yield


def delete_without_the_directory_s_fsync(place: Path) -> Iterator[None]:
    yield
    (place / "a.json").unlink()
    yield
