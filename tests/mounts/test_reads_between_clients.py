"""What one client reads while another one writes: a whole document, and one in a new folder as soon as it is there."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from exlab_store import DocumentNotFound, Store, open_store

if TYPE_CHECKING:
    from mounts.machines import Site

pytestmark = pytest.mark.one_interpreter

_READS = 20_000


def _sealed(number: int) -> bytes:
    body = b"%d " % number + b"x" * (20_000 + number % 7 * 5_000)
    return hashlib.sha256(body).hexdigest().encode() + body


def _is_whole(data: bytes) -> bool:
    return hashlib.sha256(data[64:]).hexdigest().encode() == data[:64]


def _replace_until(store: Store, ended: threading.Event, wrote: list[int]) -> None:
    while not ended.is_set():
        store.atomic_write("d.json", _sealed(len(wrote)))
        wrote.append(len(wrote))


@pytest.mark.slow
def test_a_document_that_another_client_replaces_is_read_whole_each_time(site: Site) -> None:
    ended, wrote, outcomes = threading.Event(), list[int](), Counter[str]()
    with open_store(site.a) as writer, open_store(site.b) as reader:
        writer.atomic_write("d.json", _sealed(0))
        writing = threading.Thread(target=_replace_until, args=(writer, ended, wrote))
        writing.start()
        try:
            while outcomes.total() < _READS:
                try:
                    whole = _is_whole(reader.read_snapshot("d.json").data)
                    outcomes["whole" if whole else "torn"] += 1
                except Exception as error:
                    outcomes[repr(error)] += 1
        finally:
            ended.set()
            writing.join()
    assert outcomes == {"whole": _READS}
    assert len(wrote) > 10  # otherwise nothing was shown


@pytest.mark.parametrize("kind", ["nfs-4.2", "nfs-4.0", "cifs-strict", "cifs-none"])
def test_a_document_whose_folders_were_missing_too_is_found_as_soon_as_it_is_written(site: Site) -> None:
    with open_store(site.a) as writer, open_store(site.b) as reader:
        with pytest.raises(DocumentNotFound):
            reader.read_snapshot("new/folder/d.json")
        writer.atomic_write("new/folder/d.json", b"1")
        assert reader.read_snapshot("new/folder/d.json").data == b"1"
