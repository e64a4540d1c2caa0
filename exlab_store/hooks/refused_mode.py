"""The option ``mode``, which makes documents private from their first byte, where a backend sets no permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ensure_no_mode"]


def ensure_no_mode(options: Mapping[str, object], why: str, hint: str) -> None:
    """Refuses the option ``mode``: whoever asks for private documents must not take it for one that is spelt wrongly.

    Args:
        options: What the backend was opened with.
        why: Why it gives documents no permissions: ``the server chooses the permissions of documents``.
        hint: What to do instead.

    Raises:
        NotSupported: A mode is asked for.
    """
    if "mode" in options:
        raise NotSupported(f"{why}, and mode was given", hint=hint)
