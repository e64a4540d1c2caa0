"""What the doctor's clients make of documents that nobody has written like that."""

from __future__ import annotations

import pytest

from exlab_store import Store, StoreError
from exlab_store.doctor import tasks


@pytest.mark.parametrize("content", [b"", b"12\n3", b"-1", b"one"])
def test_a_counter_that_is_no_number_is_an_error_and_no_crash(memory: Store, content: bytes) -> None:
    memory.atomic_write("counter", content)
    with pytest.raises(StoreError, match=f"read as {len(content)} bytes"):
        tasks.count_up(memory, "counter", 0)
    with pytest.raises(StoreError):
        tasks.swap_up(memory, "counter", 1)
