"""No secret is ever shown: not in a repr, not in an error, not in a traceback."""
# ruff: noqa: D102, S101  # the names of the tests are their statements; the password is made up

from __future__ import annotations

import logging
import sys
import traceback
from functools import partial
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import pytest

from exlab_store.errors import StoreError
from exlab_store.location import Location
from exlab_store.opening.stores import open_store
from exlab_store.testing.conformance.clientele import KEY, Clientele
from exlab_store.testing.conformance.errors import failures
from exlab_store.testing.conformance.running import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from exlab_store.hooks.calls import Backend
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness

__all__ = ["Secrets"]

_TELLING = ("password", "passwd", "passphrase", "secret", "token", "credential", "private")
_MADE_UP = "kit-Secret-4711"
_KIT = "exlab_store.testing."


def _secrets_of(harness: Harness) -> list[str]:
    found = [_MADE_UP, *harness.secrets]
    if harness.location is not None:
        found.append(Location.parse(harness.location).password or "")
    found += [
        value
        for name, value in harness.options.items()
        if isinstance(value, str) and any(word in name.lower() for word in _TELLING)
    ]
    return [secret for secret in found if secret]


def _shown(thing: object) -> Iterator[str]:
    yield repr(thing)
    yield str(thing)
    yield f"{thing}"


def _shown_by(error: BaseException) -> Iterator[str]:
    yield "".join(traceback.format_exception(error))
    for each in _chain(error):
        yield from _shown(each)
        if isinstance(each, StoreError):
            yield str(each.envelope())


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and all its causes and contexts: a debugger shows also those that a traceback leaves out."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", each).exceptions


def _variables_of(error: BaseException) -> Iterator[str]:
    """The variables in the frames that an error came through, as rich and log collectors show them.

    Not those of the kit, which must know the secrets, and not those of the standard library, which nobody can mend.
    """
    for each in _chain(error):
        for frame, line in traceback.walk_tb(each.__traceback__):
            module = str(frame.f_globals.get("__name__"))
            if module.startswith(_KIT) or module.partition(".")[0] in sys.stdlib_module_names:
                continue
            for name, value in frame.f_locals.items():
                yield f"{name} = {_repr(value)} in {frame.f_code.co_qualname}, {module}, line {line}"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # as what shows variables does: an object that is half made may have no repr yet
        return f"<{type(error).__name__}>"


def _assert_hidden(texts: Iterable[str], secrets: list[str]) -> None:
    for text in texts:
        for secret in secrets:
            # The texts themselves are not compared in the assertion: its message would show the secret.
            hidden = secret not in text and quote(secret, safe="") not in text
            assert hidden, f"a secret is shown in: {text.replace(secret, '***')[:500]}"


def _everything_of(backend: Backend, stores: list[Store]) -> Iterator[str]:
    yield from _shown(backend)
    yield from _shown(backend.guarantees)
    for store in stores:
        yield from _shown(store)
        yield from _shown(store / KEY)
        if store.guarantees.lock_scope != "none":
            with store.lock(KEY) as held:
                yield from _shown(held)
                yield from _shown(held.inner)
                yield from _shown(held.owner)
        store.atomic_write(KEY, b"1")
        yield from _shown(store.read_snapshot(KEY))


def _openings_with_a_password(harness: Harness) -> Iterator[Callable[[], Store]]:
    """Ways to open the location with a password that is not wanted there, or not right."""
    if harness.location is None:
        return
    location = Location.parse(harness.location)
    with_password = f"{location.scheme}://somebody:{_MADE_UP}@{location.host or 'localhost'}{location.path}"
    for url, options in (
        (with_password, harness.options),
        (harness.location, {**harness.options, "password": _MADE_UP}),
    ):
        yield partial(within, harness.patience, partial(open_store, url, **options))


class Secrets(Clientele):
    """The password of a location and of the options, and whatever else the harness declares to be secret."""

    def test_no_repr_shows_a_secret(self, harness: Harness, store: Store, open_backend: Callable[[], Backend]) -> None:
        _assert_hidden(_everything_of(open_backend(), [store]), _secrets_of(harness))

    def test_no_repr_of_a_store_that_was_opened_by_its_location_shows_a_secret(
        self, harness: Harness, open_backend: Callable[[], Backend]
    ) -> None:
        if harness.location is None:
            return
        with open_store(harness.location, **harness.options) as store:
            backend = open_backend()
            shown = within(harness.patience, lambda: list(_everything_of(backend, [store])))
            _assert_hidden(shown, _secrets_of(harness))

    def test_no_error_shows_a_secret(self, harness: Harness, store: Store, other: Store) -> None:
        store.atomic_write(KEY, b"1")
        for kind, call in failures(store, other):
            with pytest.raises(kind) as caught:
                call()
            _assert_hidden(_shown_by(caught.value), _secrets_of(harness))

    def test_no_variable_in_a_traceback_shows_a_secret(self, harness: Harness, store: Store, other: Store) -> None:
        store.atomic_write(KEY, b"1")
        for kind, call in failures(store, other):
            with pytest.raises(kind) as caught:
                call()
            _assert_hidden(_variables_of(caught.value), _secrets_of(harness))
        for call in _openings_with_a_password(harness):
            try:
                call().close()
            except StoreError as error:
                _assert_hidden(_variables_of(error), _secrets_of(harness))

    def test_no_log_shows_a_secret(
        self, harness: Harness, store: Store, other: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        store.atomic_write(KEY, b"1")
        for kind, call in failures(store, other):
            with pytest.raises(kind):
                call()
        _assert_hidden([caplog.text], _secrets_of(harness))

    def test_a_password_that_is_not_wanted_or_not_right_is_not_shown(self, harness: Harness) -> None:
        for call in _openings_with_a_password(harness):
            try:
                with call() as store:
                    _assert_hidden(_shown(store), _secrets_of(harness))
            except StoreError as error:
                _assert_hidden(_shown_by(error), _secrets_of(harness))
