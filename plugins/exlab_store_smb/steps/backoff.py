"""The repetition of a request for a file that the server refuses for a moment.

Two refusals may mean a moment only. SHARING_VIOLATION: another program has the file open and shares it with nobody, as
fsspec and smbclient do. ACCESS_DENIED: the name is just being replaced, or the account has no right; measured on Samba
4.22, 0.1 to 0.9 % of the reads beside one writer are answered so.
"""

from __future__ import annotations

import random
from time import sleep
from typing import TYPE_CHECKING, Final

from exlab_store_smb.wire.statuses import ACCESS_DENIED, SHARING_VIOLATION

if TYPE_CHECKING:
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["PASSING", "Backoff"]

PASSING: Final = frozenset({ACCESS_DENIED, SHARING_VIOLATION})
"""What may be refused for a moment only."""

_DENIED = 0.1  # seconds after which the account has no right to the file
_PAUSE = (0.002, 0.02)


class Backoff:
    """The repetitions of one operation.

    Args:
        deadline: Of the operation; half of it may be waited for another program to close the file.
    """

    __slots__ = ("_deadline", "_denied", "_shared")

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._denied: Deadline | None = None
        self._shared: Deadline | None = None

    def asks_again(self, status: int) -> bool:
        """Waits a little, if the next answer may be another one.

        Args:
            status: What the server has answered to CREATE.

        Returns:
            False where the answer stands.
        """
        if status == ACCESS_DENIED:
            limit = self._denied = self._denied or self._deadline.within(_DENIED)
        elif status == SHARING_VIOLATION:
            limit = self._shared = self._shared or self._deadline.half()
        else:
            return False
        if limit.over:
            return False
        sleep(min(limit.remaining(), random.uniform(*_PAUSE)))  # noqa: S311  # no secret
        return True
