"""Registers a backend and its observers with pluggy, and refuses what pluggy lets pass.

pluggy itself checks little: a parameter with a default is never passed, a parameter may be left out, and a misspelt
hook registers silently.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pluggy

from exlab_store import hookspecs
from exlab_store.errors import PluginError
from exlab_store.hooks.acceptance import check_signature
from exlab_store.hooks.known_classes import known_hooks, remember
from exlab_store.hookspecs import OPTIONAL_HOOKS, PROJECT, REQUIRED_HOOKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store.guarantees import Guarantees

__all__ = ["hooks_of", "is_implemented", "name_of"]

_CLAIMS = {"list_keys": ("lists", True), "delete": ("deletes", True), "watch_changes": ("watch", "pushed")}


class _Manager(pluggy.PluginManager):
    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        # register() would evaluate every property of the backend; one that dials the server has no place here.
        if isinstance(inspect.getattr_static(plugin, name, None), property):
            return None
        return super().parse_hookimpl_opts(plugin, name)


def name_of(plugin: object) -> str:
    """The name of a plugin's class, with its module."""
    cls = plugin if isinstance(plugin, type) else type(plugin)
    return f"{cls.__module__}.{cls.__qualname__}"


def hooks_of(backend: object, observers: Sequence[object], guarantees: Guarantees) -> Any:
    """The hooks of a backend, with the observers around them: pluggy's relay, or what stands for it.

    Args:
        backend: The backend.
        observers: The first is the outermost.
        guarantees: What the backend promises.

    Raises:
        PluginError: The backend or an observer breaks the contract; the message says how.
    """
    name = name_of(backend)
    hooks = None if observers else known_hooks(backend)
    if hooks is not None and not _broken_claims(hooks, guarantees):
        return hooks
    manager = _Manager(PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(backend, name="backend")
        # pluggy calls the wrapper that was registered last first.
        for number, observer in reversed(list(enumerate(observers))):
            manager.register(observer, name=f"observer {number}")
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginError(f"the backend {name} or one of its observers is not accepted: {error}") from error
    _check_implementations(manager, backend, guarantees, name)
    if not observers:
        remember(backend, manager)
    return manager.hook


def _broken_claims(hooks: Any, guarantees: Guarantees) -> list[str]:
    """The hooks that the guarantees claim and the backend does not implement."""
    return [
        hook
        for hook, (claim, value) in _CLAIMS.items()
        if getattr(guarantees, claim) == value and not is_implemented(getattr(hooks, hook))
    ]


def _check_implementations(manager: pluggy.PluginManager, backend: object, guarantees: Guarantees, name: str) -> None:
    broken = _broken_claims(manager.hook, guarantees)
    for hook_name in (*REQUIRED_HOOKS, *OPTIONAL_HOOKS):
        caller: pluggy.HookCaller = getattr(manager.hook, hook_name)
        implementations = [found for found in caller.get_hookimpls() if found.plugin is backend]
        others = [found for found in caller.get_hookimpls() if found.plugin is not backend and not found.wrapper]
        if others:
            raise PluginError(
                f"the observer {name_of(others[0].plugin)} implements {hook_name}; an observer may only wrap it",
                hint="Mark the method with hookimpl(wrapper=True).",
            )
        if not implementations:
            if hook_name in REQUIRED_HOOKS:
                raise PluginError(f"the backend {name} does not implement the hook {hook_name}")
            if hook_name in broken:
                claim, value = _CLAIMS[hook_name]
                raise PluginError(f"the backend {name} claims {claim}={value!r} and does not implement {hook_name}")
            continue
        check_signature(hook_name, implementations[0], name)


def is_implemented(caller: Any) -> bool:
    """Whether the backend has the hook, and not only observers that wrap it."""
    return any(not implementation.wrapper for implementation in caller.get_hookimpls())
