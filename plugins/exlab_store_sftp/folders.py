"""Folders that a document or a lock needs, made on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from exlab_store_sftp.faults import of_program, root_is_gone
from exlab_store_sftp.server_script import call

if TYPE_CHECKING:
    from exlab_store_sftp.paths import StoreFolder
    from exlab_store_sftp.time_limit import TimeLimit

__all__ = ["make_folders"]


class _Asked(Protocol):
    """A process on the server, or a lock that is held by one."""

    async def ask(self, request: bytes, deadline: TimeLimit) -> tuple[str, str]: ...


async def make_folders(asked: _Asked, folder: StoreFolder, path: str, deadline: TimeLimit) -> None:
    """Makes a folder and those above it that are missing.

    Args:
        asked: Who makes them.
        folder: The store's.
        path: Of the folder.
        deadline: Until when.

    Raises:
        StoreError: They cannot be made.
        ConnectionGone: The connection has ended.
    """
    word, rest = await asked.ask(call("make", *folder.made(path)), deadline)
    if word == "done":
        return
    text = rest.partition(" ")[2]
    if "No such file" in text:
        raise root_is_gone()
    raise of_program(text, "make the folder")
