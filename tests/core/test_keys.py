"""What a portable key is, and how the store's own names are made of it."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exlab_store import (
    InvalidKey,
    check_key,
    is_key,
    is_temporary_name,
    keys_in,
    lock_key,
    shortened,
    temporary_name,
    temporary_writer,
)


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "CONFOCAL_01/.exlab-wizard/equipment.json",
        "with space/in the middle.json",
        "Ærø/試料/обзор.json",
        "é.json",
        "a" * 255,
        "é" * 127,
        "/".join(["a" * 255] * 4),
        "console.json",
        "com10",
        "nullable",
        "lock",
        ".lock.json",
        "a.locker",
        "tmp.json",
        "a.tmp",
        "~$x",
    ],
    ids=lambda key: key[:20],
)
def test_a_portable_key_is_accepted(key: str) -> None:
    assert check_key(key) == key


def test_the_reason_is_in_the_message() -> None:
    with pytest.raises(InvalidKey, match="device name on Windows"):
        check_key("a/NUL.json/b")


def test_a_refused_key_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="is empty"):
        check_key("")


@given(st.text())
def test_every_text_is_a_key_or_is_refused_with_a_reason(text: str) -> None:
    try:
        check_key(text)
    except InvalidKey as error:
        assert error.message.startswith("the key ")
        assert not is_key(text)
    else:
        assert is_key(text)
        assert unicodedata.is_normalized("NFC", text)
        assert len(text.encode()) <= 1024


def test_the_lock_of_a_document_is_beside_it() -> None:
    assert lock_key("a/b.json") == "a/b.json.lock"


def test_the_lock_of_a_document_with_a_long_name_has_a_name_that_fits() -> None:
    assert len(lock_key("a/" + "b" * 255).rpartition("/")[2].encode()) <= 255


def test_two_long_names_with_one_beginning_have_two_locks() -> None:
    assert lock_key("b" * 254 + "1") != lock_key("b" * 254 + "2")


@given(st.text(min_size=1).filter(is_key).filter(lambda text: "/" not in text), st.sampled_from([".lock", ".tmp.1.ab"]))
def test_a_shortened_name_always_fits_and_keeps_its_suffix(segment: str, suffix: str) -> None:
    name = shortened(segment, suffix)
    assert name.endswith(suffix)
    assert len(name.encode()) <= 255


def test_a_name_that_is_cut_is_cut_between_two_characters() -> None:
    assert shortened("é" * 127, ".lock").encode().decode().startswith("é")


def test_what_tempfile_makes_beside_a_document_is_a_temporary_file_and_no_key(tmp_path: Path) -> None:
    for _ in range(200):
        descriptor, path = tempfile.mkstemp(dir=tmp_path, prefix="a.json.", suffix=".tmp")
        os.close(descriptor)
        name = os.path.basename(path)
        assert is_temporary_name(name)
        assert not is_key(name)
        assert temporary_writer(name) is None  # it does not say who it is


@pytest.mark.parametrize(
    "name", ["a.tmp", "report.20251128.tmp", "a.json.k3j2h1g.tmp", "a.json.K3J2H1G0.tmp", "a.json.k3j2h1g0.tmp.json"]
)
def test_a_document_with_a_similar_name_is_none(name: str) -> None:
    assert not is_temporary_name(name)


def test_the_writer_of_a_temporary_file_is_in_its_name() -> None:
    assert temporary_writer(temporary_name("a.json")) == os.getpid()
    assert temporary_writer("a.json.tmp.4711") == 4711  # as other programs of the format name theirs
    # Numbered files of other programs are none, or they would be swept.
    for name in ("a.json", "scan.tmp.001", "scan.tmp.0", "scan.tmp.12345678901", "report.tmp.docx", "a.tmp.1.json"):
        assert temporary_writer(name) is None


# Many names at a time


_PIECES = st.sampled_from(
    [
        *"aBé\N{ANGSTROM SIGN}0. /\\:\n\t\x7f\ud800",
        "con",
        "NUL",
        "com1",
        ".lock",
        ".LOCK",
        ".tmp.",
        ".tmp",
        "x" * 120,
        ".json",
    ]
)
_NAMES = st.lists(_PIECES, max_size=4).map("".join)


@given(
    folder=st.sampled_from(["", "a", "2026/11", "ü", "/".join(["x" * 200] * 4)]),
    names=st.lists(_NAMES | st.sampled_from(["a.json", "b.json"]), max_size=5),
)
def test_the_keys_of_a_folder_are_the_names_that_make_keys(folder: str, names: list[str]) -> None:
    above = f"{folder}/" if folder else ""
    assert keys_in(folder, names) == [above + name for name in names if is_key(above + name)]


@pytest.mark.parametrize(
    "odd", ["a\nb", "", "é", "CON.json", "a.LOCK", "b.tmp.1", "b.abcdefgh.tmp", "c.", "d ", "x" * 256, "a/b", "\x1f"]
)
@pytest.mark.parametrize("place", [0, 1500, 2999])
def test_one_odd_name_among_thousands_is_judged_as_alone(odd: str, place: int) -> None:
    names = [f"{number:04d}.json" for number in range(3000)]
    names[place] = odd
    assert keys_in("runs", names) == [f"runs/{name}" for name in names if is_key(f"runs/{name}")]


def test_nothing_below_a_folder_that_is_no_key_is_a_key() -> None:
    assert keys_in("a.lock", ["b.json"]) == []
