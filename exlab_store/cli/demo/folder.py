"""The folder of a demo: its own, and gone afterwards."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from exlab_store import DocumentNotFound, Guarantees, LocationError, Store, open_store
from exlab_store.cli.demo.documents import Documents
from exlab_store.cli.places import resolved
from exlab_store.hidden_location import HiddenLocation

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["DemoFolder", "remains", "set_up"]

_SHARED_BY_PROCESSES = Guarantees.at_least(lock_scope="host")


class DemoFolder(msgspec.Struct):
    """The folder of one demo.

    Attributes:
        location: The store's location, for the workers.
        shown: The same, without secrets, with the folder.
        store: The store.
        key: Its key, below which all documents are.
    """

    location: HiddenLocation
    shown: str
    store: Store
    key: str


@contextmanager
def set_up(at: HiddenLocation | None) -> Generator[DemoFolder]:
    """Makes a folder for the demo and removes what was written there.

    Args:
        at: A location as typed, or None for a temporary directory.

    Raises:
        LocationError: The location cannot be used, or processes cannot share it.
        StoreError: The store cannot be opened, or cleared.
    """
    folder = f"exlab-store-demo-{secrets.token_hex(4)}"
    if at is None:
        with (
            tempfile.TemporaryDirectory(prefix="exlab-store-", ignore_cleanup_errors=True) as directory,
            open_store(directory) as store,
        ):
            yield DemoFolder(HiddenLocation(directory), _shown(store, folder), store, folder)
        return
    location = resolved(at)
    with open_store(location) as store:
        _refuse_if_not_shared(store)
        demo = DemoFolder(location, _shown(store, folder), store, folder)
        try:
            yield demo
        finally:
            _clear(demo)


def _shown(store: Store, folder: str) -> str:
    return f"{str(store.location).rstrip('/')}/{folder}"


def _refuse_if_not_shared(store: Store) -> None:
    if store.guarantees.shortfalls(_SHARED_BY_PROCESSES):
        raise LocationError(
            f"processes cannot share this store: its lock_scope is {store.guarantees.lock_scope!r}",
            location=str(store.location),
            hint="Give a location that several processes reach, such as a directory, or leave out --at.",
        )


def _clear(demo: DemoFolder) -> None:
    location = demo.store.location
    if location is not None and location.scheme == "file":
        # Of a local directory the lock files and the folders can go too. The name is the demo's own.
        shutil.rmtree(Path(location.local_path) / demo.key, ignore_errors=True)
        return
    if not demo.store.guarantees.deletes:
        return
    documents = [path.key for path in Documents(demo.store, demo.key).all()]
    # With a list, copies of corrupt documents are found as well.
    keys = demo.store.list_keys(demo.key) if demo.store.guarantees.lists else documents
    for key in keys:
        with suppress(DocumentNotFound):
            demo.store.delete(key)


def remains(demo: DemoFolder) -> str | None:
    """What stays behind, in words, or None.

    Args:
        demo: The folder.
    """
    if demo.store.location is not None and demo.store.location.scheme == "file":
        return None
    if not demo.store.guarantees.deletes:
        return "the backend does not delete: the documents stay there"
    return "lock files and empty folders may stay there"
