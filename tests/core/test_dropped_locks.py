"""A held lock that nothing refers to any more: it is released, as a file is closed, and warns."""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from exlab_store import Store


def test_a_held_lock_that_is_dropped_warns_and_is_released(store: Store) -> None:
    held = [store.lock("a.json")]
    with pytest.warns(ResourceWarning, match=r"the lock of a\.json.* was dropped"):
        held.clear()
    store.lock("a.json", timeout=0).release()


def test_a_lock_that_was_released_is_dropped_in_silence(store: Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held = store.lock("a.json")
        held.release()
        del held
        with store.lock("a.json"):
            pass
        gc.collect()
