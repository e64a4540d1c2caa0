"""Configuration files and files of passwords that cannot be read: each is an error in time, and none is waited for."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from exlab_store import ConfigError
from exlab_store.opening.configuration import Configuration
from exlab_store.opening.secrets import SecretSource

if TYPE_CHECKING:
    from pathlib import Path


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
