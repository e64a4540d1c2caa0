"""Tests that end their guest, and others around them: `outside/test_guest.py` looks at what is reported of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest


def test_before() -> None:
    print("said inside")
    assert os.uname().nodename == "not the server"


def test_that_powers_the_guest_off() -> None:
    Path("/proc/sysrq-trigger").write_text("o")
    time.sleep(60)


@pytest.fixture
def gone() -> None:
    raise LookupError("the fixture is not there")


def test_of_a_fixture_that_fails(gone: None) -> None:
    pass


def test_that_skips() -> None:
    pytest.skip("as it says")


def test_after() -> None:
    assert os.uname().nodename == "server"
