"""A location as the caller gave it. It may hold a password: nothing shows it before it is parsed."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, TypeVar, cast, final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HiddenLocation", "hides_location", "is_name", "is_text"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_NAMES: Final = ("location", "locations")


@final
class HiddenLocation(os.PathLike[str]):
    """A location in a variable that tracebacks show as ``***``.

    Every function takes it where it takes a location. ``os.fspath`` gives the text, at the call that needs it.

    Args:
        given: Text, or a path.
    """

    __slots__ = ("_given",)

    def __init__(self, given: str | os.PathLike[str]) -> None:
        self._given: str | os.PathLike[str] = given.reveal() if isinstance(given, HiddenLocation) else given

    def reveal(self) -> str | os.PathLike[str]:
        """What was given: hand it on in the same expression, as a variable would be shown by a traceback."""
        return self._given

    def __fspath__(self) -> str:
        return os.fspath(self._given)

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a location may have a password and is not pickled: give it to the other process in clear")


def is_text(location: object) -> bool:
    """Whether a location was given as text, which may be a URL or a name; a path object is neither.

    Args:
        location: Hidden or not.
    """
    return isinstance(location.reveal() if isinstance(location, HiddenLocation) else location, str)


def is_name(location: str | os.PathLike[str]) -> bool:
    """Whether a location is ``@name``: a store of the site's configuration.

    Args:
        location: Hidden or not.
    """
    return is_text(location) and os.fspath(location).startswith("@")


def _hidden(given: Any) -> Any:
    if isinstance(given, (list, tuple)):
        return tuple(map(_hidden, cast("tuple[Any, ...]", given)))
    if isinstance(given, str):
        # Without a colon there is no password, and a path helps whoever reads the traceback.
        return HiddenLocation(given) if ":" in given else given
    if isinstance(given, os.PathLike) and not isinstance(given, HiddenLocation):
        path = cast("os.PathLike[str]", given)
        return HiddenLocation(path) if ":" in os.fsdecode(path) else path
    return given


def hides_location(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Has a function get its location as a `HiddenLocation`: none of its variables ever has the text.

    Args:
        function: One with an argument ``location``, or ``locations``; a coroutine function stays one.
    """
    code = inspect.unwrap(function).__code__
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    name = next(name for name in _NAMES if name in arguments)
    position = arguments.index(name)

    def hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        if name in kwargs:
            kwargs[name] = _hidden(kwargs[name])
        return (*args[:position], *map(_hidden, args[position : position + 1]), *args[position + 1 :])

    def call(*args: Any, **kwargs: Any) -> Any:
        args = hidden(args, kwargs)
        return function(*args, **kwargs)

    wrapper: Callable[..., Any] = call
    if inspect.iscoroutinefunction(function):
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(call)
        else:

            async def call_later(*args: Any, **kwargs: Any) -> Any:
                # Before Python 3.12 nothing else is seen to be a coroutine function, by mocks for example. A task that
                # is cancelled before it has begun shows its arguments.
                args = hidden(args, kwargs)
                return await cast("Any", function)(*args, **kwargs)

            wrapper = call_later

    return cast("Callable[_P, _R]", functools.wraps(function)(wrapper))
