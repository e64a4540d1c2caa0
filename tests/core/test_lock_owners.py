"""The owner of a lock: login names and purposes of any kind can lock, and are shown on one line."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from exlab_store import LockOwner, LockTimeout, open_store
from exlab_store.backend import owner_in_record

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store


ESCAPE = "\x1b[2J"


ODD = LockOwner(f"{ESCAPE}1", f"nas{ESCAPE}", f"ada\r\n{ESCAPE}", 7, f"now\u202e{ESCAPE}", f"scan{ESCAPE}\x07")


def test_control_characters_of_an_owner_are_shown_escaped() -> None:
    shown = str(ODD)
    assert shown.isprintable()
    assert "nas\\x1b[2J" in shown


def test_so_they_are_in_the_error_of_who_waits(posix: Store, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from exlab_store import LockTimeout, open_store\n"
        "try: open_store(sys.argv[1]).lock('a.json', timeout=0)\n"
        "except LockTimeout as error: print(ascii(str(error)))\n"
    )
    with posix.lock("a.json"):
        (tmp_path / "a.json.lock").write_bytes(b"\n" + msgspec.json.encode(ODD) + b"\n")
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
        )
    assert r"nas\\x1b[2J" in done.stdout  # ascii() shows a backslash twice


def test_an_owner_without_control_characters_is_shown_as_it_is() -> None:
    assert (
        str(LockOwner("1", "nas", "Müller", 7, "now", "µ-scan")) == "Müller on nas (process 7) since now for 'µ-scan'"
    )


def test_a_holder_with_control_characters_is_escaped_in_a_lock_timeout() -> None:
    assert str(LockTimeout("waited", holder=ODD)).isprintable()


NO_RECORDS = [
    pytest.param(b"-", id="void"),
    pytest.param(b'{"id":"\xff","host":"h","user":"u","pid":1,"since":"x"}', id="no UTF-8"),
    pytest.param(b'{"id":"1","zzz":' + b"[" * 4000, id="nested"),
    pytest.param(b'{"id":1}', id="of another kind"),
]


@pytest.mark.parametrize("record", NO_RECORDS)
def test_what_is_no_record_of_an_owner_names_nobody(record: bytes) -> None:
    assert owner_in_record(record) is None


@pytest.mark.parametrize("record", NO_RECORDS)
def test_a_lock_whose_file_holds_nonsense_is_held_by_somebody(posix: Store, tmp_path: Path, record: bytes) -> None:
    program = (
        "import sys\n"
        "from exlab_store import LockTimeout, open_store\n"
        "store = open_store(sys.argv[1])\n"
        "(found,) = store.list_leftovers()\n"
        "try: store.lock('a.json', timeout=0)\n"
        "except LockTimeout as error: print(error.holder, found.held, found.owner)\n"
    )
    with posix.lock("a.json"):
        (tmp_path / "a.json.lock").write_bytes(b"\n" + record + b"\n")
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
        )
    assert done.stdout.strip() == "None True None"


def test_the_holder_is_named_however_long_its_purpose_is(posix: Store, tmp_path: Path) -> None:
    with posix.lock("a.json", purpose="ä" * 6000), open_store(tmp_path) as other:
        (found,) = other.list_leftovers()
    assert found.owner is not None
    assert found.owner.purpose == "ä" * 500 + "..."


@pytest.mark.skipif(sys.platform == "win32", reason="login names are Unicode there")
def test_a_login_name_that_is_not_utf8_can_lock(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from exlab_store import open_store\n"
        "with open_store(sys.argv[1]) as store, store.lock('a.json') as held: print(ascii(held.owner.user))\n"
    )
    environment: dict[bytes, bytes] = {**os.environb, b"LOGNAME": b"m\xfcller"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == (r"'m\\udcfcller'", "")


def test_a_purpose_that_is_not_unicode_can_lock(store: Store) -> None:
    with store.lock("a.json", purpose="scan \udcfc") as held:
        assert held.owner.purpose == "scan \\udcfc"
