"""Stores on a test's SMB server, and what comes in the way of an operation: another program, or Ctrl-C."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from smb_logon import logged_on
from waiting import eventually

from exlab_store import Store, StoreError, WriteOutcomeUnknown, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from samba_server import SambaServer

__all__ = ["LARGE", "NEW", "OLD", "age", "interrupted", "old_enough", "opened", "somebody_has_open", "written"]

OLD = b"old " * 512
NEW = b"new " * 512
LARGE = b"new " * (7 << 18)  # 7 MiB

T = TypeVar("T")
_AGES = (0.1, 1.0, 10.0)  # seconds


def opened(
    samba: SambaServer, *folder: str, port: int | None = None, share: str | None = None, **options: Any
) -> Store:
    """A store of the server's account; ``port`` and ``share`` go into its URL, everything else is an option."""
    return open_store(samba.url(*folder, user=False, port=port, share=share), **{**samba.options, **options})


def written(store: Store, path: Path, data: bytes = NEW) -> bool | None:
    """Whether a document was written, by what the store says; None when it does not know."""
    try:
        store.atomic_write(path.name, data)
    except WriteOutcomeUnknown:
        return None
    except StoreError:
        return False
    return True


def age(path: Path, seconds: float) -> None:
    """Waits until a document, or the folder that it is missing in, has not been changed for some time."""
    while not path.exists():
        path = path.parent
    eventually(lambda: time.time() > path.stat().st_ctime + seconds)


def old_enough(attempt: Callable[[float], T]) -> T:
    """The result of an attempt whose outcome the age of a document tells.

    A document that is older than a change whose answer was lost was not changed by it. What is younger than the answers
    of a busy machine tells nothing, and `WriteOutcomeUnknown` is right: then an older one is tried.

    Args:
        attempt: Is given the document's age in seconds; it has a document of its own each time.
    """
    for seconds in _AGES[:-1]:
        with suppress(WriteOutcomeUnknown):
            return attempt(seconds)
    return attempt(_AGES[-1])


@contextmanager
def somebody_has_open(samba: SambaServer, path: Path, shares: str = "") -> Generator[None]:
    """Another program, as a virus scanner, has a file open, and shares it with nobody if not told otherwise."""
    smbclient: Any = importlib.import_module("smbclient")  # it has no types
    cache: dict[str, Any] = {}
    account: dict[str, Any] = {**samba.options, "port": samba.port, "connection_cache": cache}
    name = rf"\\127.0.0.1\{samba.share}\{path.relative_to(samba.root)}"
    while True:
        with suppress(OSError):  # the one who has had it open is not gone yet
            file = logged_on(lambda: smbclient.open_file(name, mode="rb", share_access=shares, **account))
            break
    try:
        yield
    finally:
        file.close()
        smbclient.reset_connection_cache(connection_cache=cache)


@contextmanager
def interrupted(when: Callable[[], object]) -> Generator[None]:
    """Ctrl-C in the main thread, as soon as something is true."""

    def wait() -> None:
        eventually(when)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        thread.join()
