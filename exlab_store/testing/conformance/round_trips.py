"""A written document is read by every client at once, byte for byte, with a version that says so."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from exlab_store.errors import DocumentNotFound
from exlab_store.testing.conformance.clientele import KEY, Clientele
from exlab_store.testing.conformance.running import together

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness, Oracle

__all__ = ["RoundTrips", "Versions"]

_EVERY_BYTE = bytes(range(256))
_DOCUMENTS = [
    pytest.param(b"", id="0_bytes"),
    pytest.param(b"\0", id="1_byte"),
    pytest.param(_EVERY_BYTE, id="every_byte"),
    pytest.param(b"a\r\nb\nc\r\n\x1a", id="line_ends"),
    pytest.param(b"\xef\xbb\xbf{}", id="byte_order_mark"),
    pytest.param(_EVERY_BYTE * 256, id="64_KiB"),
    pytest.param(_EVERY_BYTE * 4096 * 5, id="5_MiB"),
]


class RoundTrips(Clientele):
    """Reading gives what was written."""

    @pytest.mark.parametrize("data", _DOCUMENTS)
    def test_a_document_is_read_as_it_was_written(self, store: Store, other: Store, data: bytes) -> None:
        written = store.atomic_write(KEY, data)
        for client in (store, other):
            snapshot = client.read_snapshot(KEY)
            assert snapshot.data == data
            assert snapshot.version == written

    @pytest.mark.parametrize("data", _DOCUMENTS)
    def test_exactly_the_written_bytes_are_stored(self, store: Store, oracle: Oracle, data: bytes) -> None:
        store.atomic_write(KEY, data)
        assert oracle.read(KEY) == data

    @pytest.mark.parametrize("data", _DOCUMENTS)
    def test_bytes_that_were_stored_by_other_means_are_read(self, store: Store, oracle: Oracle, data: bytes) -> None:
        oracle.write(KEY, data)
        assert store.read_snapshot(KEY).data == data

    def test_what_is_read_is_bytes(self, store: Store) -> None:
        store.atomic_write(KEY, b"1")
        assert type(store.read_snapshot(KEY).data) is bytes

    def test_a_shorter_document_replaces_a_longer_one_wholly(self, store: Store, oracle: Oracle) -> None:
        store.atomic_write(KEY, b"long" * 1000)
        store.atomic_write(KEY, b"short")
        assert store.read_snapshot(KEY).data == b"short"
        assert oracle.read(KEY) == b"short"

    def test_documents_do_not_touch_each_other(self, store: Store) -> None:
        keys = ["a", "a.json", "b/a", "b/a.json", "b/c/a"]
        for key in keys:
            store.atomic_write(key, key.encode())
        assert [store.read_snapshot(key).data.decode() for key in keys] == keys

    def test_a_missing_document_is_not_found(self, store: Store) -> None:
        with pytest.raises(DocumentNotFound):
            store.read_snapshot(KEY)

    def test_a_document_without_bytes_is_not_a_missing_one(self, store: Store, other: Store) -> None:
        store.atomic_write(KEY, b"")
        assert other.read_snapshot(KEY).data == b""

    def test_a_client_reads_its_own_write_at_once(self, store: Store) -> None:
        for number in range(20):
            store.atomic_write(KEY, str(number).encode())
            assert store.read_snapshot(KEY).data == str(number).encode()

    def test_a_client_that_is_opened_later_finds_the_documents(
        self, store: Store, open_client: Callable[[], Store]
    ) -> None:
        store.atomic_write(KEY, b"1")
        assert open_client().read_snapshot(KEY).data == b"1"

    def test_documents_outlive_the_client_that_wrote_them(self, store: Store, open_client: Callable[[], Store]) -> None:
        writer = open_client()
        writer.atomic_write(KEY, b"1")
        writer.close()
        assert store.read_snapshot(KEY).data == b"1"


class Versions(Clientele):
    """A version stands for the bytes."""

    def test_equal_bytes_have_equal_versions(self, store: Store, other: Store) -> None:
        first = store.atomic_write(KEY, b"one")
        between = store.atomic_write(KEY, b"two")
        again = other.atomic_write(KEY, b"one")
        assert again == first
        assert between != first
        assert store.read_snapshot(KEY).version == other.read_snapshot(KEY).version == first

    def test_bytes_of_equal_length_that_are_written_in_a_row_have_versions_of_their_own(self, store: Store) -> None:
        versions: set[str] = set()
        for number in range(50):
            versions.add(store.atomic_write(KEY, b"%03d" % number))
            versions.add(store.read_snapshot(KEY).version)
        assert len(versions) == 50

    def test_bytes_with_one_checksum_have_versions_of_their_own(self, store: Store) -> None:
        # Both have the CRC-32 4ddb0c25, and the same length.
        assert store.atomic_write(KEY, b"plumless") != store.atomic_write(KEY, b"buckeroo")

    def test_a_write_returns_the_version_of_its_own_bytes(
        self, harness: Harness, open_client: Callable[[], Store]
    ) -> None:
        def write(client: Store, name: str) -> list[str]:
            return [client.atomic_write(KEY, f"{name} {number}".encode()) for number in range(15)]

        versions = together([partial(write, open_client(), name) for name in "abc"], 3 * harness.patience)
        assert len({version for each in versions for version in each}) == 45, "one has the version of another's bytes"

    def test_a_snapshot_keeps_its_version_when_the_document_changes(self, store: Store, other: Store) -> None:
        written = store.atomic_write(KEY, b"one")
        snapshot = store.read_snapshot(KEY)
        other.atomic_write(KEY, b"two")
        assert snapshot.data == b"one"
        assert snapshot.version == written

    def test_reading_does_not_change_the_version(self, store: Store, other: Store) -> None:
        written = store.atomic_write(KEY, b"one")
        assert {client.read_snapshot(KEY).version for client in (store, other, store)} == {written}
