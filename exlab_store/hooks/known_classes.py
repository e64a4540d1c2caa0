"""What pluggy and the checks have found out about a backend's class, for the next store that one of it keeps.

To register a backend takes 0.9 ms, most of it for a look at each attribute of the object, and a program that reads a
document in each of 300 folders opens 300 stores. What is remembered is taken only for an object that brings no hooks of
its own beside its class's, and while the class is as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from exlab_store.hookspecs import OPTIONAL_HOOKS, PROJECT, REQUIRED_HOOKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pluggy

__all__ = ["known_hooks", "remember"]

_MARK = f"{PROJECT}_impl"  # what pluggy's marker sets
_HOOKS = (*REQUIRED_HOOKS, *OPTIONAL_HOOKS)


class _Class(NamedTuple):
    """What is known of a class: the methods by their hooks, and how many names it and its bases have."""

    methods: dict[str, tuple[str, object]]
    sizes: tuple[int, ...]


_classes: WeakKeyDictionary[type, _Class] = WeakKeyDictionary()


class _Implementation(NamedTuple):
    """The part of pluggy's ``HookImpl`` that is asked for."""

    plugin: object
    function: Callable[..., Any]
    wrapper: bool = False


class _Caller:
    """The part of pluggy's ``HookCaller`` that is asked for."""

    __slots__ = ("_implementations",)

    def __init__(self, implementations: list[_Implementation]) -> None:
        self._implementations = implementations

    def get_hookimpls(self) -> list[_Implementation]:
        """The implementations: one or none."""
        return self._implementations

    def __call__(self, **_: object) -> None:
        """What pluggy returns of a hook that nobody implements."""


class _Hooks:
    """The hooks of a backend, as pluggy's relay has them."""

    def __init__(self, callers: Iterable[tuple[str, _Caller]]) -> None:
        self.__dict__.update(callers)


def _sizes(cls: type) -> tuple[int, ...]:
    return tuple(len(vars(base)) for base in cls.__mro__)


def remember(backend: object, manager: pluggy.PluginManager) -> None:
    """Remembers a backend that was accepted, if its class alone says what its hooks are.

    Args:
        backend: The backend.
        manager: Where it is registered, without observers.
    """
    cls = type(backend)
    methods: dict[str, tuple[str, object]] = {}
    for hook in _HOOKS:
        implementations = getattr(manager.hook, hook).get_hookimpls()
        if not implementations:
            continue
        method: Any = implementations[0].function
        name, function = getattr(method, "__name__", ""), getattr(method, "__func__", None)
        if len(implementations) > 1 or function is None or getattr(cls, name, None) is not function:
            return
        methods[hook] = name, function
    _classes[cls] = _Class(methods, _sizes(cls))


def known_hooks(backend: object) -> Any:
    """The hooks of a backend, as ``manager.hook`` would have them; None if pluggy has to look.

    Args:
        backend: The backend.
    """
    cls = type(backend)
    known = _classes.get(cls)
    if known is None or known.sizes != _sizes(cls):
        return None
    if any(getattr(cls, name, None) is not function for name, function in known.methods.values()):
        return None
    own = getattr(backend, "__dict__", {})
    if any(name in own for name, _ in known.methods.values()) or any(hasattr(each, _MARK) for each in own.values()):
        return None
    callers: list[tuple[str, _Caller]] = []
    for hook in _HOOKS:
        method = known.methods.get(hook)
        callers.append(
            (hook, _Caller([] if method is None else [_Implementation(backend, getattr(backend, method[0]))]))
        )
    return _Hooks(callers)
