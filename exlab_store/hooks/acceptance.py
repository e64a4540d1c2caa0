"""The checks of a backend when it is registered."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import msgspec

from exlab_store import hookspecs
from exlab_store.errors import PluginError
from exlab_store.guarantees import Guarantees

if TYPE_CHECKING:
    import pluggy

__all__ = ["check_signature", "checked_guarantees", "effective", "reasons_of"]


def checked_guarantees(backend: object, name: str) -> Guarantees:
    """The guarantees of a backend.

    Args:
        backend: The backend.
        name: What it is called in an error.

    Raises:
        PluginError: It has none, or wrong ones.
    """
    guarantees = getattr(backend, "guarantees", None)
    if not isinstance(guarantees, Guarantees):
        raise PluginError(f"the backend {name} has no attribute guarantees of type exlab_store.Guarantees")
    flaw = guarantees.flaw()
    if flaw is not None:
        raise PluginError(f"the guarantees of the backend {name} are wrong: {flaw}")
    if guarantees.watch != "none" and not guarantees.lists:
        raise PluginError(f"the backend {name} claims watch={guarantees.watch!r} and does not list its keys")
    return guarantees


def reasons_of(backend: object, name: str) -> dict[str, str]:
    """Why a backend does not claim a guarantee, by the guarantee's name; empty for one that does not say.

    Args:
        backend: The backend.
        name: What it is called in an error.

    Raises:
        PluginError: Its ``unclaimed`` is something else.
    """
    reasons = getattr(backend, "unclaimed", {})
    if not isinstance(reasons, Mapping) or not all(
        guarantee in Guarantees.__struct_fields__ and isinstance(reason, str)
        for guarantee, reason in cast("Mapping[object, object]", reasons).items()
    ):
        raise PluginError(f"unclaimed of the backend {name} is not a mapping from guarantees to reasons")
    return dict(cast("Mapping[str, str]", reasons))


def effective(guarantees: Guarantees) -> Guarantees:
    """What the store promises: the core looks by itself for the changes of whatever lists its keys.

    Args:
        guarantees: What the backend promises.
    """
    if guarantees.lists and guarantees.watch == "none":
        return msgspec.structs.replace(guarantees, watch="polled")
    return guarantees


def check_signature(hook_name: str, implementation: pluggy.HookImpl, backend_name: str) -> None:
    """Checks that an implementation takes what pluggy will pass to it.

    Args:
        hook_name: Of which hook.
        implementation: The implementation.
        backend_name: What the backend is called in an error.

    Raises:
        PluginError: It takes something else, has a default, or wraps the hook.
    """
    if implementation.wrapper or implementation.hookwrapper:
        raise PluginError(f"the backend {backend_name} wraps the hook {hook_name} instead of implementing it")
    expected = tuple(inspect.signature(getattr(hookspecs, hook_name)).parameters)
    if implementation.kwargnames:
        raise PluginError(
            f"{hook_name} of the backend {backend_name} has a default for {', '.join(implementation.kwargnames)}",
            hint="pluggy never passes a parameter that has a default: take the defaults away.",
        )
    if sorted(implementation.argnames) != sorted(expected):
        raise PluginError(
            f"{hook_name} of the backend {backend_name} takes ({', '.join(implementation.argnames)})",
            hint=f"It must take exactly ({', '.join(expected)}).",
        )
