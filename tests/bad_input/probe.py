"""One operation on a store in a process of its own, with fewer rights or resources; prints as JSON what came of it."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import tempfile
from typing import TYPE_CHECKING

from exlab_store import Store, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable


def update(store: Store, key: str) -> object:
    return store.update(key, lambda _: b"x" * SIZE)


def lock(store: Store, key: str) -> object:
    with store.lock(key, timeout=1):
        return None


OPERATIONS: dict[str, Callable[[Store, str], object]] = {
    "read": lambda store, key: store.read_snapshot(key).data.decode(errors="replace"),
    "write": lambda store, key: store.atomic_write(key, b"x" * SIZE),
    "update": update,
    "lock": lock,
    "delete": lambda store, key: store.delete(key),
    "list": lambda store, key: store.list_keys(key),
}
SIZE = 1


def warm_up() -> None:
    """Imports what is imported on first use: an account with no rights may not read this Python's library."""
    import stamina  # noqa: F401

    with tempfile.TemporaryDirectory() as directory, open_store(directory) as store:
        for name in ("write", "read", "lock", "update", "delete"):
            OPERATIONS[name](store, "a/b.json")
        OPERATIONS["list"](store, "")
        try:
            store.read_snapshot("missing.json")
        except StoreError as error:
            str(error)


def outcome(call: Callable[[], object]) -> dict[str, object]:
    try:
        return {"result": call()}
    except BaseException as error:
        return {
            "types": [kind.__name__ for kind in type(error).__mro__],
            "text": str(error),
            "key": getattr(error, "key", None),
            "location": getattr(error, "location", None),
            "hint": getattr(error, "hint", None),
            "errno": getattr(error, "errno", None),
        }


def main() -> None:
    global SIZE
    parser = argparse.ArgumentParser()
    parser.add_argument("operation", choices=[*OPERATIONS, "open"])
    parser.add_argument("location")
    parser.add_argument("key", nargs="?", default="")
    parser.add_argument("--uid", type=int)
    parser.add_argument("--file-size", type=int)
    parser.add_argument("--no-descriptors", action="store_true")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--size", type=int, default=1)
    given = parser.parse_args()
    SIZE = given.size
    if not given.cold:
        warm_up()
    if given.uid is not None:
        os.setgroups([])
        os.setgid(given.uid)
        os.setuid(given.uid)
    if given.file_size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (given.file_size, given.file_size))
    if given.operation == "open":
        found = outcome(lambda: str(open_store(given.location)))
    else:
        store = open_store(given.location)
        if given.no_descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        found = outcome(lambda: OPERATIONS[given.operation](store, given.key))
    os.write(1, json.dumps(found, default=str).encode())


if __name__ == "__main__":
    main()
