"""The `PluginError` for an exception that a plugin should not have raised; it shows no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store.secret import Secret

__all__ = ["escaped", "shown"]


def escaped(what: str, error: BaseException, secrets: Sequence[Secret], *, hint: str) -> PluginError:
    """The error for what a plugin has let escape.

    Args:
        what: What happened, up to the error's text.
        error: What escaped.
        secrets: What must not be shown.
        hint: What to do next.
    """
    text = str(error)
    for secret in secrets:
        text = text.replace(secret.reveal(), "***")
    return PluginError(f"{what}: {text}", hint=hint)


def shown(error: BaseException, secrets: Sequence[Secret]) -> BaseException | None:
    """The error as a cause that a traceback may show; None for one that tells a secret.

    Args:
        error: What escaped.
        secrets: What must not be shown.
    """
    return None if any(secret.reveal() in f"{error} {error!r}" for secret in secrets) else error
