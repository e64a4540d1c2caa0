"""How many functions of Python stand between a write over SMB and the network."""

from __future__ import annotations

import socket
import threading
import traceback
from typing import TYPE_CHECKING

import pytest

from exlab_store import open_store

if TYPE_CHECKING:
    from samba_server import SambaServer


@pytest.mark.one_interpreter
def test_a_write_is_at_most_eleven_functions_above_the_network(
    samba: SambaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, stacks = threading.get_ident(), list[list[str]]()
    sendall = socket.socket.sendall

    def watched(sender: socket.socket, data: bytes) -> None:
        if threading.get_ident() == here:
            stacks.append([f"{frame.filename}: {frame.name}" for frame in traceback.extract_stack()[:-1]])
        sendall(sender, data)

    with open_store(samba.url(), password=samba.password) as store:
        for _ in range(2):  # the first write shows what the server does
            store.atomic_write("a.json", b"{}")
        monkeypatch.setattr(socket.socket, "sendall", watched)
        store.atomic_write("a.json", b"[]")
    (stack, *_) = stacks
    above = len(traceback.extract_stack())  # this function and what calls it
    assert len(stack) - above <= 11, stack[above:]
