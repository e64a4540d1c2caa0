"""How long the backend waits: for a program that has a document open, for a slow server, for a silent one."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from exlab_store_smb.wire.transport import DeadlineTcp
from smb_stores import OLD, opened, somebody_has_open

if TYPE_CHECKING:
    from samba_server import SambaServer
    from wire_proxy import WireProxy


pytestmark = pytest.mark.one_interpreter


def test_a_deletion_waits_for_a_program_that_has_the_document_open_for_a_moment(samba: SambaServer) -> None:
    (samba.root / "a.json").write_bytes(OLD)
    with opened(samba) as store, ThreadPoolExecutor(1) as pool:
        with somebody_has_open(samba, samba.root / "a.json"):
            deleting = pool.submit(store.delete, "a.json")
            with pytest.raises(TimeoutError):
                deleting.result(0.2)
        deleting.result()
    assert not (samba.root / "a.json").exists()


def test_a_listing_that_takes_longer_than_the_timeout_ends_and_takes_nobody_s_lock_away(
    samba: SambaServer, wire: WireProxy
) -> None:
    for number in range(8):
        (samba.root / f"{number}").mkdir()
        (samba.root / f"{number}" / "a.json").write_bytes(OLD)
    with opened(samba, port=wire.port, timeout=1.0) as store, store.lock("a.json") as held:
        wire.delay = 0.08
        assert len(store.list_keys()) == 8
        wire.delay = 0.0
        held.ensure_held()


def test_a_server_is_found_at_its_second_address_when_the_first_swallows_everything(
    samba: SambaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as swallowing:
        swallowing.bind(("127.0.0.2", 0))
        swallowing.listen(0)
        silent = swallowing.getsockname()
        with socket.create_connection(silent):  # its queue is full now
            addresses = [silent, ("127.0.0.1", samba.port)]
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

            def resolved(*_: Any, **__: Any) -> list[Any]:
                return found

            monkeypatch.setattr(socket, "getaddrinfo", resolved)
            tcp = DeadlineTcp("nas01", samba.port, 4.0)
            began = time.monotonic()
            tcp.connect()
            tcp.close()
            assert time.monotonic() - began < 3.9  # there was time left for the second one
