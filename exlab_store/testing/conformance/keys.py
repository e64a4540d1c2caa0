"""Every key that is valid works: names at the limits, in every script, in folders that do not exist yet."""
# ruff: noqa: D102, S101  # the names of the tests are their statements; keys hold several scripts

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exlab_store.errors import DocumentNotFound, InvalidKey
from exlab_store.testing.conformance.clientele import KEY, Clientele, as_claimed, assert_locked

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.guarantees import Guarantees
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Oracle

__all__ = ["Folders", "Keys"]

_KEYS = [
    pytest.param("a", id="one_letter"),
    pytest.param("no suffix", id="space_inside"),
    pytest.param(" begins with a space", id="space_first"),
    pytest.param(".hidden/.hidden.json", id="dot_first"),
    pytest.param("a..b/...c", id="dots"),
    pytest.param("!#$%&'()+,-.;=@[]^_`{}~", id="every_sign"),
    pytest.param("ABCDEFGHIJKLMNOPQRSTUVWXYZ/abcdefghijklmnopqrstuvwxyz/0123456789", id="letters_and_digits"),
    pytest.param("50%25 %2F %00.json", id="percent"),
    pytest.param("Grüße/Ålesund/naïve.json", id="latin"),
    pytest.param("日本語/中文/한국어.json", id="east_asian"),
    pytest.param("עברית/العربية/ไทย.json", id="right_to_left"),
    pytest.param("🔬/𝔘𝔫𝔦.json", id="beyond_the_basic_plane"),
    pytest.param("a'; DROP TABLE documents; --", id="quotation"),
    pytest.param("con_/aux1/nul-.json/com", id="almost_a_device"),
    pytest.param("x.locked/y.tmp/lock.json/tmp.1.json", id="almost_reserved"),
    pytest.param("n" * 255, id="name_of_255_bytes"),
    pytest.param("ü" * 127 + "x", id="name_of_255_bytes_in_128_characters"),
    pytest.param("語" * 85, id="name_of_255_bytes_in_85_characters"),
    pytest.param("/".join([c * 204 for c in "abcd"] + ["e" * 204]), id="key_of_1024_bytes"),
    pytest.param("/".join("d" * 512), id="key_of_512_segments"),
]


class Keys(Clientele):
    """A valid key is good for every operation."""

    @pytest.mark.parametrize("key", _KEYS)
    def test_every_valid_key_can_be_written_read_locked_listed_and_deleted(
        self, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle, key: str
    ) -> None:
        store.atomic_write(key, key.encode())
        assert other.read_snapshot(key).data == key.encode()
        assert oracle.read(key) == key.encode()
        with as_claimed(guarantees.lock_scope != "none"):
            store.update(key, lambda current: (current or b"") + b"!")
            assert other.read_snapshot(key).data == key.encode() + b"!"
        with as_claimed(guarantees.lists):
            assert other.list_keys() == [key]
        with as_claimed(guarantees.deletes):
            other.delete(key)
            assert oracle.read(key) is None

    def test_long_names_that_begin_alike_are_two_documents(self, store: Store, other: Store) -> None:
        first, second = "n" * 254 + "1", "n" * 254 + "2"
        store.atomic_write(first, b"1")
        other.atomic_write(second, b"2")
        assert store.read_snapshot(first).data == b"1"
        assert store.read_snapshot(second).data == b"2"

    def test_long_names_that_begin_alike_have_two_locks(
        self, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        first, second = "n" * 254 + "1", "n" * 254 + "2"
        with as_claimed(guarantees.lock_scope != "none"), store.lock(first), other.lock(second, timeout=0):
            assert_locked(store, second)
            assert_locked(other, first)

    def test_keys_that_differ_in_case_are_two_documents_or_one_with_one_lock_or_the_second_is_refused(
        self, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        # Some storage systems do not tell case apart. Then both keys must name one document in every respect:
        # one document with two locks would lose updates. Or the second key is refused, and names nothing.
        lower, upper = "case/document.json", "case/Document.JSON"
        store.atomic_write(lower, b"lower")
        try:
            one = other.read_snapshot(upper).data == b"lower"
        except DocumentNotFound:
            one = False
        try:
            other.atomic_write(upper, b"upper")
        except InvalidKey:
            assert not one
            assert (store.read_snapshot(lower).data, store.exists(upper)) == (b"lower", False)
            with as_claimed(guarantees.lists):
                assert store.list_keys("case") == [lower]
            return
        assert store.read_snapshot(upper).data == b"upper"
        assert store.read_snapshot(lower).data == (b"upper" if one else b"lower")
        with as_claimed(guarantees.lists):
            assert len(store.list_keys("case")) == (1 if one else 2)
        with as_claimed(guarantees.lock_scope != "none"), store.lock(lower):
            if one:
                assert_locked(other, upper)
            else:
                other.lock(upper, timeout=0).release()

    def test_names_that_only_case_folding_makes_equal_are_not_mixed_up(self, store: Store, other: Store) -> None:
        keys = ["straße", "strasse", "ﬁle", "file", "Ω", "İ", "i"]
        for key in keys:
            store.atomic_write(key, key.encode())
        read = {key: other.read_snapshot(key).data.decode() for key in keys}
        # A storage system that folds case may show one document for several names, and never bytes of none of them.
        assert all(read[key] in keys for key in keys)
        assert read[keys[-1]] == keys[-1]


class Folders(Clientele):
    """Folders are made when they are needed and are never in the way."""

    def test_a_write_makes_the_folders_that_are_missing(self, store: Store, oracle: Oracle) -> None:
        key = "never/seen/before/document.json"
        store.atomic_write(key, b"1")
        assert oracle.read(key) == b"1"

    def test_a_folder_that_is_missing_is_a_document_not_found(self, store: Store, guarantees: Guarantees) -> None:
        key = "never/seen/before/document.json"
        with pytest.raises(DocumentNotFound):
            store.read_snapshot(key)
        with as_claimed(guarantees.deletes), pytest.raises(DocumentNotFound):
            store.delete(key)

    def test_two_clients_may_make_the_same_folders(self, store: Store, open_client: Callable[[], Store]) -> None:
        for name in range(5):
            open_client().atomic_write(f"shared/deep/folder/{name}", b"1")
        assert all(store.read_snapshot(f"shared/deep/folder/{name}").data == b"1" for name in range(5))

    def test_a_folder_is_not_a_document(self, store: Store) -> None:
        store.atomic_write("folder/document.json", b"1")
        # A storage system without folders has nothing there; one with folders may say that the key names one.
        with pytest.raises((DocumentNotFound, InvalidKey)):
            store.read_snapshot("folder")
        with pytest.raises((DocumentNotFound, InvalidKey)):
            store.read_snapshot("folder/document.json/deeper")

    @pytest.mark.parametrize("key", ["folder", "folder/document.json/deeper"])
    def test_a_name_for_both_a_folder_and_a_document_works_or_is_an_invalid_key(
        self, store: Store, oracle: Oracle, key: str
    ) -> None:
        store.atomic_write(KEY, b"1")
        try:
            store.atomic_write(key, b"2")
        except InvalidKey:
            assert oracle.read(KEY) == b"1"
        else:
            assert oracle.read(key) == b"2"
            assert oracle.read(KEY) == b"1"

    @pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/", "a\\b", "a\0b", "a.lock", "a.tmp.1", "nul"])
    def test_a_key_that_is_not_valid_reaches_nothing(self, store: Store, oracle: Oracle, key: str) -> None:
        before = oracle.names()
        with pytest.raises(InvalidKey):
            store.read_snapshot(key)
        with pytest.raises(InvalidKey):
            store.atomic_write(key, b"1")
        assert oracle.names() == before
