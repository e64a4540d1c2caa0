"""Waiting for a socket, in the way of each system."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from exlab_store_postgresql.waiting import READABLE, WRITABLE, ready, wait_until_ready


@pytest.fixture(params=["linux", "win32"])
def pair(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[socket.socket, socket.socket]]:
    monkeypatch.setattr(sys, "platform", request.param)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_socket_is_ready_for_what_it_is_asked_for(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    assert ready(ours.fileno(), READABLE, 0) == 0
    assert ready(ours.fileno(), READABLE | WRITABLE, 0) == WRITABLE
    theirs.send(b"1")
    assert ready(ours.fileno(), READABLE, 0) == READABLE
    assert ready(ours.fileno(), READABLE | WRITABLE, 0) == READABLE | WRITABLE


def test_the_end_of_a_stream_can_be_read(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    assert ready(ours.fileno(), READABLE, 0) == READABLE


def test_a_wait_ends_with_its_time_and_when_it_is_cancelled(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    assert wait_until_ready(ours.fileno(), READABLE, time.monotonic() + 0.01) == (0, False)
    asked = iter([False, False, True])
    assert wait_until_ready(ours.fileno(), READABLE, time.monotonic() + 30, lambda: next(asked)) == (0, True)
    threading.Timer(0.05, theirs.send, [b"1"]).start()
    assert wait_until_ready(ours.fileno(), READABLE, time.monotonic() + 30) == (READABLE, False)
