"""What the SMB backend does to files on the server: names, leftovers, lock files, and other programs beside it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from exlab_store import open_store

if TYPE_CHECKING:
    from samba_server import SambaServer
    from wire_proxy import WireProxy


def test_every_waiter_is_granted_the_lock_when_it_is_released(samba: SambaServer, wire: WireProxy) -> None:
    # Samba forgets to wake a waiter now and then when the holder only closes its handle (8 to 40 of 300, on 4.17).
    # Stores with one URL would wait for each other inside this process, so one of them goes through the proxy.
    with (
        open_store(samba.url(), password=samba.password) as store,
        open_store(samba.url(port=wire.port), password=samba.password) as other,
    ):
        for number in range(100):
            held = store.lock("a.json")
            waiter = threading.Thread(target=lambda: other.lock("a.json", timeout=20.0).release())
            waiter.start()
            time.sleep(number % 20 * 0.0005)  # before, while and after the waiter's request arrives
            held.release()
            waiter.join(2.0)
            assert not waiter.is_alive(), f"the waiter of round {number} still waits two seconds after the release"
