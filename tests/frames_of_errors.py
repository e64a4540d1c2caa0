"""What a traceback with variables shows of the frames of this package: the caller's frames are the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.pretty import pretty_repr

from exlab_store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PACKAGES = ("exlab_store.", "exlab_store_")


def _chain(error: BaseException) -> Iterator[BaseException]:
    waiting: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while waiting:
        each = waiting.pop()
        if each is None or any(each is other for other in seen):
            continue
        seen.append(each)
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def shown_by_frames(error: BaseException, *, rich: bool = True) -> str:
    """The text of an error, of its causes and contexts, and the variables of the frames that they came through."""
    texts: list[str] = []
    for each in _chain(error):
        texts += [str(each), repr(each), repr(vars(each))]
        if isinstance(each, StoreError):
            texts.append(repr(each.envelope()))
        step = each.__traceback__
        while step is not None:
            frame = step.tb_frame
            if frame.f_globals.get("__name__", "").startswith(_PACKAGES):
                for name, value in frame.f_locals.items():
                    shown = _repr(value) + (pretty_repr(value) if rich else "")
                    texts.append(f"{frame.f_code.co_qualname}:{step.tb_lineno} {name} = {shown}")
            step = step.tb_next
    return "\n".join(texts)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # an object that was not finished
        return repr(error)


def failure_of(call: Callable[[], object]) -> BaseException | None:
    """What a call raises, whatever it is; None if it returns."""
    try:
        call()
    except BaseException as error:
        return error
    return None
