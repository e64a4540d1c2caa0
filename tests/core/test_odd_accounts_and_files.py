"""Accounts, configuration files and times that hardly anybody has: each works, or has an error of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import msgspec
import pytest

from exlab_store import ConfigError, LockOwner, LockTimeout
from exlab_store.documents import timestamp
from exlab_store.opening.configuration import Configuration
from exlab_store.opening.secrets import SecretSource

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


DEEP = "a = " + "[" * 20_000 + "]" * 20_000
BAD = {
    "nested without end": DEEP,
    "a number of 5,000 digits": "a = " + "1" * 5000,
    "a float": f"[stores.a]\nurl = {'9' * 5000}",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_configuration_that_cannot_be_read_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "exlab-store.toml").write_text(text)
    with pytest.raises(ConfigError, match="the configuration") as caught:
        Configuration.read(tmp_path / "exlab-store.toml")
    assert caught.value.location == str(tmp_path / "exlab-store.toml")
    assert "name of a file" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="about pipes in the file system")
def test_a_pipe_in_the_configurations_place_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "exlab-store.toml")
    with pytest.raises(ConfigError, match="pipe"):
        Configuration.read(tmp_path / "exlab-store.toml")


@pytest.mark.skipif(sys.platform == "win32", reason="about pipes in the file system")
def test_a_pipe_in_the_place_of_a_passwords_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "password")
    with pytest.raises(ConfigError, match="pipe"):
        SecretSource(file=str(tmp_path / "password")).fetch(None)


@pytest.mark.skipif(sys.platform != "linux", reason="about /dev/zero")
def test_a_configuration_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError):
        Configuration.read("/dev/zero")


def test_a_configuration_that_is_far_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "exlab-store.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match="more than"):
        Configuration.read(tmp_path / "exlab-store.toml")


@pytest.mark.parametrize("year", [1, 9, 999, 1000, 9999])
def test_a_year_has_four_digits(year: int) -> None:
    assert timestamp(datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)) == f"{year:04d}-02-03T04:05:06Z"


@pytest.mark.parametrize(("year", "hours"), [(1, 14), (9999, -12)])
def test_a_time_that_no_year_holds_in_utc_is_a_value_error(year: int, hours: int) -> None:
    moment = datetime(year, 1 if year == 1 else 12, 1 if year == 1 else 31, 12, tzinfo=timezone(timedelta(hours=hours)))
    with pytest.raises(ValueError, match="between the years"):
        timestamp(moment)
