"""Whether the folder of a document is made for its lock: an update asks its change first.

A lock needs the document's folder. Where that is missing, an update would make it before it knows whether there is
anything to write, and a folder that somebody has deleted would be back after an update that raised.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.model import LockOwner

__all__ = ["ensure_folder_wanted", "question_before_folder"]

question_before_folder: Final[ContextVar[Callable[[LockOwner], None] | None]] = ContextVar(
    "exlab_store_question_before_folder", default=None
)
"""Raises if the folder is not wanted yet by the one who asks; None for no question.

A signal handler's exception may leave the question of an update that has ended: it is about no other lock request.
"""


def ensure_folder_wanted(owner: LockOwner) -> None:
    """Asks whether a folder that is missing is to be made; a backend calls it before it makes one for a lock.

    Args:
        owner: Who asks for the lock.

    Raises:
        DocumentNotFound: Not yet: let it pass. The core asks for the lock again once it is.
    """
    question = question_before_folder.get()
    if question is not None:
        question(owner)
