"""The one rule for a condition (``expect=``): does the stored version meet it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.errors import DocumentExists, VersionConflict
from exlab_store.model import ABSENT, ANY

if TYPE_CHECKING:
    from exlab_store.model import Expectation, Version

__all__ = ["ensure_expected"]


def ensure_expected(expect: Expectation, found: Version | None) -> None:
    """Refuses a write or a deletion whose writer expects another document than the stored one.

    A backend calls it at a moment from which nobody else can change the document until the write has taken effect.

    Args:
        expect: `ANY`, `ABSENT`, or the version that the stored document must have.
        found: The version of the stored document; None where there is no document.

    Raises:
        DocumentExists: `ABSENT` is expected, and there is a document.
        VersionConflict: The document has another version, or there is none.
    """
    if expect is ABSENT:
        if found is not None:
            raise DocumentExists(found=found)
    elif expect is not ANY and found != expect:
        raise VersionConflict(expected=expect, found=found)
