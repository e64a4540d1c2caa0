"""The errors for a folder that is not deleted."""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING

from exlab_store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FolderNotEmpty"]

_SHOWN = 10


class FolderNotEmpty(StoreError, OSError):
    """Something is in the folder that is not deleted with it, or that was to be absent.

    Args:
        message: What went wrong.
        left: What is in the folder: names, or keys.
        key: The folder's key.
        location: The store's location, without secrets.
    """

    code = "folder_not_empty"
    http_status = 409
    default_errno = _errno.ENOTEMPTY

    def __init__(
        self, message: str, *, left: Sequence[str] = (), key: str | None = None, location: str | None = None
    ) -> None:
        names = ", ".join(map(repr, left[:_SHOWN]))
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        super().__init__(
            f"{message}: {names}{more}" if left else message,
            key=key,
            location=location,
            hint="Look at what is there; what is no document of the store has to be removed by other means.",
        )
        self.left = tuple(left)

    @property
    def details(self) -> Mapping[str, object]:
        """What is in the folder."""
        return {"left": list(self.left)} if self.left else {}
