"""Whether the folder of a document is made for its lock: an update asks its change first.

A lock needs the document's folder. Where that is missing, an update would make it before it knows whether there is
anything to write, and a folder that somebody has deleted would be back after an update that raised.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ensure_folder_wanted", "question_before_folder"]

question_before_folder: Final[ContextVar[Callable[[], None] | None]] = ContextVar(
    "exlab_store_question_before_folder", default=None
)
"""Raises if the folder is not wanted yet; None for no question."""


def ensure_folder_wanted() -> None:
    """Asks whether a folder that is missing is to be made; a backend calls it before it makes one for a lock.

    Raises:
        DocumentNotFound: Not yet: let it pass. The core asks for the lock again once it is.
    """
    question = question_before_folder.get()
    if question is not None:
        question()
