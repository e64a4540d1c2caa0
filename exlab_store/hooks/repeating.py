"""Repeats by stamina what has failed once. Who imports this has stamina ready, with all that it looks for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import stamina
from stamina.instrumentation import get_on_retry_hooks

from exlab_store.hooks.attempts import current_attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.errors import BackendUnavailable
    from exlab_store.hooks.retrying import Retry

__all__ = ["repeat"]

T = TypeVar("T")

# stamina logs each retry; where nobody has configured logging, it would land on standard error.
logging.getLogger("stamina").addHandler(logging.NullHandler())
get_on_retry_hooks()  # imports what it finds


def repeat(
    call: Callable[[], T],
    first: BackendUnavailable,
    retry: Retry,
    timeout: float,
    may_be_repeated: Callable[[Exception], bool],
) -> T:
    """Repeats what has failed, and waits before each attempt.

    Args:
        call: What to repeat.
        first: Why it has failed. It is the first of the attempts.
        retry: How often.
        timeout: Seconds after which no further attempt is made.
        may_be_repeated: Whether an error allows another attempt.

    Returns:
        What the call returns.

    Raises:
        BackendUnavailable: Of the last attempt.
        Exception: Of an attempt, where that allows no other.
    """
    # stamina waits when an attempt has raised: the first of them raises again.
    failed: list[BackendUnavailable] = [first]
    for attempt in stamina.retry_context(
        on=may_be_repeated,
        attempts=retry.attempts,
        timeout=timeout,
        wait_initial=retry.wait,
        wait_max=retry.longest_wait,
        wait_jitter=retry.wait,
    ):
        with attempt:
            if failed:
                raise failed.pop()
            token = current_attempt.set(attempt.num)
            try:
                return call()
            finally:
                current_attempt.reset(token)
    raise first
