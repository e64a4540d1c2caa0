"""Several documents at a time: over a network, most of the time goes into waiting."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from exlab_store.threads import submitted

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterable

__all__ = ["in_parallel"]

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(
    work: Callable[[T], R], items: Iterable[T], jobs: int, stop: threading.Event
) -> Generator[R, None, None]:
    """Does the same to each item, in threads, and yields what comes out as it comes.

    Args:
        work: What is done; what it raises comes out of here.
        items: To what; only a few are taken ahead.
        jobs: How many at once, 1 or more.
        stop: Set by anybody: nothing more is begun. It is set here too when the caller leaves early, by an
            interruption, say; what has begun is then waited for.

    Raises:
        BackendUnavailable: There is no thread for the work: the system gives none, or the interpreter is ending.
    """
    coming = iter(items)
    with ThreadPoolExecutor(jobs, thread_name_prefix="exlab-store") as pool:
        under_way: set[Future[R]] = set()
        try:
            while True:
                if not stop.is_set():
                    # As many again as can be done at once, so that no thread waits for this one.
                    few = islice(coming, 2 * jobs - len(under_way))
                    under_way |= {submitted(pool, partial(work, item)) for item in few}
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
