"""An asynchronous iterator over a synchronous one: each step runs on a thread of the store."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

__all__ = ["OnThread", "each"]

T = TypeVar("T")

# The way to a thread and back takes as long as 200 entries of a local folder.
_AT_A_TIME = 256


class OnThread(Protocol):
    """Makes a call on a thread."""

    async def __call__(self, call: Callable[[], T], /) -> T:
        """Makes it, and returns its result."""
        ...


async def each(on_thread: OnThread, begin: Callable[[], Iterator[T]]) -> AsyncGenerator[T]:
    """Makes an iterator and takes its steps on threads, the first one alone and then several at a time.

    Args:
        on_thread: Makes a call on a thread.
        begin: Makes the iterator.

    Raises:
        Exception: Whatever the iterator raises.
    """
    iterator = await on_thread(begin)
    count = 1
    while batch := await on_thread(partial(_taken, iterator, count)):
        for item in batch:
            yield item
        count = min(4 * count, _AT_A_TIME)


def _taken(iterator: Iterator[T], count: int) -> list[T]:
    return list(islice(iterator, count))
