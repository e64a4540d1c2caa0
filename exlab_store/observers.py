"""The observers that come with the package; each is found by its name, through an entry point.

An entry point in the group ``exlab_store.observers`` names a callable that takes the store's `Location`, or None, and
returns an object with wrappers around hooks: a subclass of `Observer`, say.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from exlab_store.first_imports import import_whole
from exlab_store.hooks.observing import Observation, Observer

if TYPE_CHECKING:
    from collections.abc import Generator

    from exlab_store.location import Location

__all__ = ["LogObserver", "TraceObserver"]

_log = logging.getLogger("exlab_store")

# What a program runs into in its daily work; the rest is worth a warning.
_USUAL: Final = frozenset({"done", "document_not_found", "document_exists", "version_conflict", "lock_timeout"})


class LogObserver(Observer):
    """Logs one record for each attempt at an operation, with the logger ``exlab_store``.

    Done, and what programs run into every day, is logged with level INFO; anything else with WARNING. The record has
    the fields of `Observation` as attributes whose names begin with ``store_``, for structured logging.
    """

    @contextmanager
    def around(self, observation: Observation) -> Generator[None]:
        """Logs when the attempt has ended.

        Args:
            observation: Of the attempt.
        """
        try:
            yield
        finally:
            level = logging.INFO if observation.outcome in _USUAL else logging.WARNING
            if _log.isEnabledFor(level):
                fields = {
                    f"store_{name}": value
                    for name, value in msgspec.structs.asdict(observation).items()
                    if name != "error"
                }
                _log.log(level, "%s", _line(observation), extra=fields)


def _line(observation: Observation) -> str:
    place = " in ".join(filter(None, (observation.key, observation.location)))  # the whole store has no key
    size = "" if observation.size is None else f", {observation.size} {_unit(observation)}"
    again = "" if observation.attempt == 1 else f", attempt {observation.attempt}"
    return (
        f"{observation.operation} {place}: {observation.outcome} in {observation.duration * 1000:.1f} ms{size}{again}"
    )


def _unit(observation: Observation) -> str:
    return {"list_keys": "keys", "list_leftovers": "files"}.get(observation.operation, "bytes")


class TraceObserver(Observer):
    """Makes an OpenTelemetry span of each attempt at an operation, and a histogram of their durations.

    Spans are named ``exlab_store.<operation>``; the histogram is ``exlab_store.operation.duration``, in seconds.
    The key is an attribute of the span and not of the histogram, which would grow with each document.

    Args:
        location: The store's location, or None.

    Raises:
        ImportError: The extra ``otel`` is not installed.
    """

    def __init__(self, location: Location | None) -> None:
        import_whole("opentelemetry.metrics", "opentelemetry.trace")
        from opentelemetry import metrics, trace

        super().__init__(location)
        self._tracer = trace.get_tracer("exlab_store")
        self._durations = metrics.get_meter("exlab_store").create_histogram(
            "exlab_store.operation.duration", unit="s", description="How long an attempt at an operation took."
        )

    @contextmanager
    def around(self, observation: Observation) -> Generator[None]:
        """Keeps a span open during the attempt.

        Args:
            observation: Of the attempt.
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode

        shared = {
            "exlab_store.operation": observation.operation,
            "exlab_store.backend": observation.backend,
        }
        with self._tracer.start_as_current_span(
            f"exlab_store.{observation.operation}",
            kind=SpanKind.CLIENT,
            attributes={
                **shared,
                "exlab_store.key": observation.key,
                "exlab_store.location": observation.location,
                "exlab_store.attempt": observation.attempt,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            finally:
                span.set_attribute("exlab_store.outcome", observation.outcome)
                if observation.size is not None:
                    span.set_attribute("exlab_store.size", observation.size)
                if observation.outcome not in _USUAL:
                    span.set_status(Status(StatusCode.ERROR, observation.outcome))
                self._durations.record(observation.duration, {**shared, "exlab_store.outcome": observation.outcome})
