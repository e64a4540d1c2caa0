"""No secret is ever shown: not in a repr, not in an error, not in a traceback."""
# ruff: noqa: D102, S101  # the names of the tests are their statements; the password is made up

from __future__ import annotations

import logging
import traceback
from functools import partial
from typing import TYPE_CHECKING
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
    each: BaseException | None = error
    while each is not None:
        yield from _shown(each)
        if isinstance(each, StoreError):
            yield str(each.envelope())
        each = each.__cause__ or each.__context__


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
        if harness.location is None:
            return
        location = Location.parse(harness.location)
        with_password = f"{location.scheme}://somebody:{_MADE_UP}@{location.host or 'localhost'}{location.path}"
        for url, options in (
            (with_password, harness.options),
            (harness.location, {**harness.options, "password": _MADE_UP}),
        ):
            try:
                with within(harness.patience, partial(open_store, url, **options)) as store:
                    _assert_hidden(_shown(store), _secrets_of(harness))
            except StoreError as error:
                _assert_hidden(_shown_by(error), _secrets_of(harness))
