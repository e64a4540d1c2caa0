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

__all__ = ["repeat"]

T = TypeVar("T")

get_on_retry_hooks()  # imports what it finds


def repeat(
    call: Callable[[], T],
    first: BackendUnavailable,
    may_be_repeated: Callable[[Exception], bool],
    *,
    attempts: int,
    timeout: float,
    wait: float,
    longest_wait: float,
) -> T:
    """Repeats what has failed, and waits before each attempt.

    Args:
        call: What to repeat.
        first: Why it has failed. It is the first of the attempts.
        may_be_repeated: Whether an error allows another attempt.
        attempts: How often it is tried in all.
        timeout: Seconds after which no further attempt is made.
        wait: Seconds before the second attempt; the wait doubles with each and is jittered.
        longest_wait: Seconds that no single wait exceeds.

    Returns:
        What the call returns.

    Raises:
        BackendUnavailable: Of the last attempt.
        Exception: Of an attempt, where that allows no other.
    """
    # stamina logs each retry; where nobody has configured logging, it would land on standard error.
    logger = logging.getLogger("stamina")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    # stamina waits when an attempt has raised: the first of them raises again.
    failed: list[BackendUnavailable] = [first]
    for attempt in stamina.retry_context(
        on=may_be_repeated,
        attempts=attempts,
        timeout=timeout,
        wait_initial=wait,
        wait_max=longest_wait,
        wait_jitter=wait,
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
