"""Keys that are not portable are refused by every verb of every store, before anything is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from places import OPERATIONS, refusal

from exlab_store import ABSENT, InvalidKey, Store, StorePath

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["bad_input_fixtures"]

BAD = {
    "empty": "",
    "only a slash": "/",
    "absolute": "/etc/passwd",
    "two slashes": "//nas01/share",
    "empty segment": "a//b.json",
    "slash at the end": "a/",
    "dot": ".",
    "dot segment": "a/./b.json",
    "dots": "..",
    "up and out": "../b.json",
    "up inside": "a/../../b.json",
    "dots at the end": "a/..",
    "backslash": "a\\b.json",
    "up with backslashes": "..\\..\\b.json",
    "drive": "C:\\b.json",
    "drive letter": "C:b.json",
    "UNC": "\\\\nas01\\share",
    "stream": "b.json:stream",
    "less": "a<b",
    "greater": "a>b",
    "quote": 'a"b',
    "bar": "a|b",
    "question mark": "a?b",
    "star": "*.json",
    "NUL": "a\0b",
    "NUL at the end": "b.json\0",
    "line break": "a\nb",
    "tab": "a\tb",
    "escape": "a\x1bb",
    "unit separator": "a\x1fb",
    "delete": "a\x7fb",
    "next line": "a\x85b",
    "ends in a dot": "b.json.",
    "folder ends in a dot": "a./b.json",
    "ends in a space": "b.json ",
    "folder ends in a space": "a /b.json",
    "three dots": "...",
    "a space": " ",
    "con": "con",
    "CON": "CON",
    "nul.json": "nul.json",
    "Aux.tar.gz": "Aux.tar.gz",
    "prn in a folder": "a/prn/b.json",
    "com1": "com1",
    "COM9.json": "COM9.json",
    "lpt1": "LPT1.txt",
    "com with a superscript": "com¹.json",
    "con with spaces": "con .json",
    "conin": "CONIN$",
    "conout": "conout$",
    "not NFC": "e\u0301.json",
    "not NFC in a folder": "A\u030a/b.json",
    "Angstrom sign": "\u212b.json",
    "half a surrogate pair": "\ud800.json",
    "undecodable bytes": "\udcff.json",
    "256 bytes": "x" * 256,
    "256 bytes in 128 letters": "é" * 128,
    "256 bytes in a folder": "x" * 256 + "/b.json",
    "1025 bytes": "/".join(["x" * 204] * 4 + ["x" * 205]),
    "a million bytes": "x" * 1_000_000,
    "a lock": "b.json.lock",
    "only lock": ".lock",
    "LOCK": "b.json.LOCK",
    "a lock as folder": "a.lock/b.json",
    "a temporary file": "b.json.tmp.4242.00112233aabbccdd",
    "a temporary file as folder": "a.tmp.b/c",
    "TMP": "b.TMP.1",
}
GOOD = {
    "short": "a",
    "deep": "a/b/c/d.json",
    "hidden": ".exlab-wizard/equipment.json",
    "dots inside": "a..b/c...d",
    "spaces inside": "a b/c d.json",
    "255 bytes": "x" * 255,
    "254 bytes in 127 letters": "é" * 127,
    "1024 bytes": "/".join(["x" * 204] * 5),
    "console": "console.json",
    "com10": "com10",
    "nullable": "nul-l.json",
    "ends in tmp": "a.tmp",
    "lock inside": "a.lock.json",
    "scripts": "顕微鏡/Ångström/µ.json",
    "no character": "a\u200bb",
    "percent": "a%2Fb",
    "tilde": "~root/x",
    "dollar": "$HOME/x",
    "minus": "-rf",
    "at": "@name",
}

bad_keys = pytest.mark.parametrize("key", BAD.values(), ids=BAD)


@pytest.mark.parametrize(
    ("verb", "key"),
    [
        pytest.param(verb, key, id=f"{verb}-{name}")
        for verb in OPERATIONS
        for name, key in BAD.items()
        if key or verb != "list"  # an empty prefix is the whole store
    ],
)
def test_every_verb_refuses_the_key(store: Store, verb: str, key: str) -> None:
    with pytest.raises(InvalidKey):
        OPERATIONS[verb](store, key)


@bad_keys
def test_a_refused_key_touches_nothing(posix: Store, tmp_path: Path, key: str) -> None:
    for verb in ("write", "update", "lock", "delete"):
        with pytest.raises(InvalidKey):
            OPERATIONS[verb](posix, key)
    assert list(tmp_path.iterdir()) == []


@bad_keys
def test_a_store_path_is_not_made_of_it(memory: Store, key: str) -> None:
    with pytest.raises(InvalidKey):
        StorePath(memory, key)


@bad_keys
def test_a_slash_does_not_join_it(memory: Store, key: str) -> None:
    with pytest.raises(InvalidKey):
        memory / "folder" / key


@bad_keys
def test_no_sibling_is_named_by_it(memory: Store, key: str) -> None:
    with pytest.raises(InvalidKey):
        (memory / "folder" / "a.json").with_name(key)


@bad_keys
def test_the_coroutines_refuse_it_too(memory: Store, key: str) -> None:
    with pytest.raises(InvalidKey):
        anyio.run(memory.aio.atomic_write, key, b"{}")


@pytest.mark.parametrize("key", [None, 7, b"a.json", 1.5, True], ids=repr)
def test_a_key_that_is_not_text_is_refused(memory: Store, key: Any) -> None:
    with pytest.raises(InvalidKey, match="text"):
        memory.read_snapshot(key)


@pytest.mark.parametrize("key", [["a"], {"a": 1}, bytearray(b"a")], ids=repr)
def test_a_key_that_is_not_even_hashable_is_refused(memory: Store, key: Any) -> None:
    with pytest.raises(InvalidKey, match="text"):
        memory.read_snapshot(key)


@pytest.mark.parametrize("verb", OPERATIONS)
def test_the_refusal_names_the_store_the_key_and_what_keys_are(store: Store, verb: str) -> None:
    assert (
        refusal(lambda: OPERATIONS[verb](store, "a/nul.json")).flaws(InvalidKey, str(store.location), "a/nul.json")
        == []
    )


def test_the_refusal_of_a_store_path_names_the_store_and_the_key(posix: Store) -> None:
    assert refusal(lambda: posix / "nul.json").flaws(InvalidKey, str(posix.location), "nul.json") == []


@pytest.mark.parametrize(
    "key", ["a\nb", "\x1b[31mred", "\ud800", "x" * 100_000], ids=["break", "escape", "half", "long"]
)
def test_the_refusal_shows_the_key_in_a_way_that_a_terminal_and_a_log_can_bear(memory: Store, key: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        memory.read_snapshot(key)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 1000


@pytest.mark.parametrize("key", GOOD.values(), ids=GOOD)
def test_what_is_portable_is_accepted(store: Store, key: str) -> None:
    store.atomic_write(key, b"{}", expect=ABSENT)
    with store.lock(key):
        assert store.read_snapshot(key).data == b"{}"
    assert store.list_keys() == [key]
