"""Another program's handles on files of a share: a viewer, a file manager that asks for times, one that deletes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from exlab_store_smb.file_system import SmbFileSystem
from exlab_store_smb.session.reconnecting import Links
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Generator

    from exlab_store_smb.session.link import Link
    from samba_server import SambaServer

__all__ = ["ASKING", "VIEWING", "Handle", "Program", "program"]

# What is asked for when a file is opened; read, write and delete are shared.
VIEWING: Final = messages.open_to_read
ASKING: Final = messages.open_to_ask

_PATIENCE: Final = 20.0


class Handle:
    """A file that another program has open."""

    def __init__(self, link: Link, file_id: bytes) -> None:
        self._link = link
        self._file_id = file_id

    def close(self) -> None:
        """Closes the file."""
        self._link.run([messages.close(self._file_id)], Deadline(_PATIENCE))


class Program:
    """Another program on another machine, with a connection of its own."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def open(self, name: str, how: Any = VIEWING) -> Handle:
        """Opens a file and leaves it open; waits while somebody is deleting it.

        Args:
            name: Below the share.
            how: `VIEWING` or `ASKING`.
        """
        while True:
            (opened,) = self.link.run([how(name)], Deadline(_PATIENCE))
            if opened.ok:
                return Handle(self.link, messages.file_id_of(opened))

    def try_to_open(self, name: str, how: Any = VIEWING) -> Handle | None:
        """As `open`, once; None where it is refused.

        Args:
            name: Below the share.
            how: `VIEWING` or `ASKING`.
        """
        (opened,) = self.link.run([how(name)], Deadline(_PATIENCE))
        return Handle(self.link, messages.file_id_of(opened)) if opened.ok else None

    def delete(self, name: str) -> bool:
        """Deletes a file as most programs do: it goes when the last who has it open closes it.

        Args:
            name: Below the share.

        Returns:
            Whether the server agreed.
        """
        options = 0x1040  # FILE_NON_DIRECTORY_FILE, FILE_DELETE_ON_CLOSE
        opening = messages._create(name, 0x10000, 1, options)
        opened, _ = self.link.run([opening, messages.close()], Deadline(_PATIENCE))
        return opened.ok


@contextmanager
def program(samba: SambaServer) -> Generator[Program]:
    """A program that uses the default share.

    Args:
        samba: The server.
    """
    file_system = SmbFileSystem("127.0.0.1", port=samba.port, username=samba.user, password=samba.password)
    links = Links(file_system.options, samba.share)
    try:
        yield Program(links.current(Deadline(_PATIENCE)))
    finally:
        links.close(Deadline(_PATIENCE))
