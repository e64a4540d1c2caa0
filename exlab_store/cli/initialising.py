"""``exlab-store init``: makes the place of a store, as the first write into one that was opened to be made does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from exlab_store import LocationError, NotSupported, UnknownScheme, open_store
from exlab_store.cli.places import resolved
from exlab_store.cli.terminal import print_json, print_text

if TYPE_CHECKING:
    from exlab_store.hidden_location import HiddenLocation

__all__ = ["init_store"]


class _Made(msgspec.Struct, frozen=True):
    """The answer, as ``--json`` shows it."""

    location: str
    made: bool


def init_store(location: HiddenLocation, *, as_json: bool) -> None:
    """Makes a store's place where it is missing: a document is written there, and deleted.

    Args:
        location: Where the store is to be.
        as_json: Print JSON.

    Raises:
        NotSupported: The backend cannot delete what would be written.
        StoreError: The place cannot be made.
    """
    where = resolved(location)
    try:
        with open_store(where) as store:
            answer = _Made(str(store.location), made=False)
    except UnknownScheme:
        raise
    except LocationError:  # also one that cannot be meant: then it is refused once more, for the same reason
        with open_store(where, create=True) as store:
            if not store.guarantees.deletes:
                raise NotSupported(
                    "the place is made by the first write, and a write to try it could not be deleted again",
                    hint="Write the first document.",
                ) from None
            key = f"exlab-store-init-{os.urandom(8).hex()}.json"
            store.atomic_write(key, b"{}")
            store.delete(key)
            answer = _Made(str(store.location), made=True)
    if as_json:
        print_json(answer)
    else:
        print_text(f"{answer.location}: {'made' if answer.made else 'it is there already'}\n")
