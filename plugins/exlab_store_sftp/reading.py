"""Reading and looking over SFTP: requests that need no answer of each other are sent together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import asyncssh

from exlab_store import InvalidKey, Snapshot, Stat
from exlab_store_sftp.faults import translated
from exlab_store_sftp.protocol import FOLDER, READ, REGULAR

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["close_later", "ensure_file", "read_document", "read_open", "stat_of"]

_AT_ONCE: Final = 1 << 15  # bytes that hold the usual document, and that every server sends at once
_TOGETHER: Final = 64
_closing: set[asyncio.Task[None]] = set()


async def read_document(files: asyncssh.SFTPClient, path: str) -> Snapshot:
    """Reads a whole document through one open file; a replacement meanwhile does not touch that.

    Args:
        files: The session.
        path: The document's.

    Raises:
        InvalidKey: It is no file.
        asyncssh.Error: As the server says.
    """
    attributes, data = await read_open(files, path)
    return Snapshot(data, modified=None if attributes.mtime is None else float(attributes.mtime))


async def read_open(files: asyncssh.SFTPClient, path: str) -> tuple[asyncssh.SFTPAttrs, bytes]:
    """The attributes and the bytes of one open file.

    Args:
        files: The session.
        path: The document's.

    Raises:
        InvalidKey: It is no file.
        asyncssh.Error: As the server says.
    """
    # asyncssh's own blocks cost a round trip more: it asks again for what a short file does not have.
    file = await files.open(path, READ, encoding=None, block_size=0)
    try:
        attributes, first = await asyncio.gather(file.stat(), _first(file))
        ensure_file(attributes)
        if isinstance(first, asyncssh.SFTPError):
            raise first
        size = attributes.size or 0
        return attributes, first if len(first) == size < _AT_ONCE else await _rest(file, first, size)
    finally:
        close_later(file.close())


async def _part(file: Any, size: int, position: int) -> bytes:  # what it reads has no type of its own
    return bytes(await file.read(size, position))


async def _rest(file: Any, first: bytes, size: int) -> bytes:
    """The whole of a file, by requests that are sent together, and then what a server has left out of an answer."""
    data = bytearray(first)
    while len(data) < size and first:
        starts = range(len(data), min(size, len(data) + _TOGETHER * _AT_ONCE), _AT_ONCE)
        for start, part in zip(
            starts, await asyncio.gather(*(_part(file, _AT_ONCE, start) for start in starts)), strict=True
        ):
            if start != len(data):
                break  # the one before was short
            data += part
        if len(data) == starts[0]:
            break  # it has become shorter
    while part := await _part(file, _AT_ONCE, len(data)):
        data += part
    return bytes(data)


async def _first(file: Any) -> bytes | asyncssh.SFTPError:
    """The beginning; or what refuses it, as the file's kind is the better reason."""
    try:
        return await _part(file, _AT_ONCE, 0)
    except asyncssh.SFTPError as error:
        return error


def close_later(closing: Coroutine[object, object, None]) -> None:
    """Has a file closed, and waits for no answer.

    Args:
        closing: What closes it.
    """
    task = asyncio.get_running_loop().create_task(_closed(closing))
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def _closed(closing: Coroutine[object, object, None]) -> None:
    try:
        await closing
    except (asyncssh.Error, OSError, ValueError):
        return  # the server closes the files of a session that has ended


def ensure_file(attributes: asyncssh.SFTPAttrs) -> None:
    """Refuses a folder, a device, a pipe and a socket.

    Args:
        attributes: Of what stands at a document's name.

    Raises:
        InvalidKey: It is none.
    """
    if attributes.type != REGULAR:
        what = "a folder" if attributes.type == FOLDER else "a device, pipe or socket"
        raise InvalidKey(f"the key names {what}, not a document", hint="Choose another key for the document.")


async def stat_of(files: asyncssh.SFTPClient, path: str) -> Stat:
    """What is known of a document or a folder.

    Args:
        files: The session.
        path: Its path.

    Raises:
        InvalidKey: It is neither.
        StoreError: The server does not let this account look.
        asyncssh.Error: As the server says.
    """
    attributes = await files.stat(path)
    modified = None if attributes.mtime is None else float(attributes.mtime)
    if attributes.type == FOLDER:
        return Stat(0, modified, kind="folder")
    ensure_file(attributes)
    if attributes.size is None:
        raise translated(asyncssh.SFTPFailure("the server does not tell its size"), "look at the document")
    return Stat(attributes.size, modified)
