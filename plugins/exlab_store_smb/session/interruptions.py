"""The end of a connection on which an operation was interrupted that has something open there between two exchanges.

A signal handler may raise at any moment, and no other code would close a file or release a lock for the operation: the
server does, when the connection ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store import StoreError
from exlab_store_smb.session.link_lost import LinkLost

if TYPE_CHECKING:
    from types import TracebackType

    from exlab_store_smb.session.link import Link

__all__ = ["ends_when_interrupted"]


class ends_when_interrupted:  # noqa: N801  # a verb, as contextlib's own
    """Ends a connection when an exception comes out that neither the server nor the connection is the cause of.

    Not for steps that leave something open when they succeed: a handler may run where ``__exit__`` begins.

    Args:
        link: The connection.
    """

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, (StoreError, LinkLost)):
            self._link.end()
