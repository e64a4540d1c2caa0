"""A `Secret` holds a password from its source to its use, and no text shows it."""

from __future__ import annotations

import functools
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, TypeVar, final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Secret", "forget_variables", "hidden", "revealed", "set_field", "without_variables"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_SHOWN: Final = "***"


@final
class Secret:
    """A text that is shown as ``***``; `reveal` gives it, at the call that needs it.

    It is no ``str``: joining, slicing and encoding would show the text. It is not pickled and not encoded.

    Args:
        text: The password, or another text that may be secret.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: hand it on in the same expression, as a variable would be shown by a traceback."""
        return self._text

    def __repr__(self) -> str:
        return _SHOWN

    def __format__(self, spec: str) -> str:
        return format(_SHOWN, spec)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a password is not pickled, as anybody could read it there: open the store where it is used,"
            " with the password from a configuration, a keyring or the environment"
        )


def hidden(options: Mapping[str, object]) -> dict[str, object]:
    """The options of a backend with each text in a `Secret`: only the backend knows which is one.

    Args:
        options: The options as they were given.
    """
    return {name: Secret(options[name]) if isinstance(options[name], str) else options[name] for name in options}  # type: ignore[arg-type]  # mypy narrows no item


def revealed(options: Mapping[str, object]) -> dict[str, object]:
    """The options as the backend takes them.

    Args:
        options: From `hidden`.
    """
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in options.items()}


def set_field(fields: type, name: str, struct: object, value: Secret) -> None:
    """Puts a secret into the place of the text that a frozen struct was made with.

    Args:
        fields: The struct type that declares the field; a property of the same name may hide it in its subclasses.
        name: The field's name.
        struct: The struct, while it is made.
        value: The text, hidden.
    """
    field: Any = vars(fields)[name]
    field.__set__(struct, value)


def forget_variables(error: BaseException, spare: BaseException | None = None) -> None:
    """Clears the variables of the frames that an error, its causes and its contexts came through.

    Files and lines stay. Libraries that log on have the password in variables, and a traceback may show those.

    Args:
        error: What was raised; frames that still run keep their variables.
        spare: What was being handled before, which is the caller's.
    """
    seen = {id(spare)}
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__]
        step = each.__traceback__
        while step is not None:
            with suppress(RuntimeError):  # it still runs
                step.tb_frame.clear()
            step = step.tb_next


def without_variables(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Makes the errors of a function come without the variables of the frames below it, and without its arguments.

    Args:
        function: One that takes what may hold a password, such as a location or options.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        before = sys.exception()
        taken: list[Any] = [kwargs, args]
        args, kwargs = (), {}  # type: ignore[assignment]  # this frame is shown too
        try:
            return function(*taken.pop(), **taken.pop())  # pyright: ignore[reportCallIssue]
        except BaseException as error:
            forget_variables(error, before)
            raise

    return call
