"""The checks of a backend when it is registered."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import msgspec

from exlab_store import hookspecs
from exlab_store.errors import PluginError
from exlab_store.guarantees import Guarantees

if TYPE_CHECKING:
    import pluggy

__all__ = ["check_signature", "checked_guarantees", "effective"]


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
