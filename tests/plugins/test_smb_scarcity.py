"""Servers that grant few credits, and shares that fill up."""

from __future__ import annotations

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from smb_stores import LARGE, OLD, opened, written
from waiting import eventually

if TYPE_CHECKING:
    from samba_server import SambaServer
    from wire_proxy import WireProxy


pytestmark = pytest.mark.one_interpreter


@pytest.mark.parametrize("granted", [16, 64])
def test_a_large_document_is_read_and_written_where_the_server_grants_few_credits(granted: int) -> None:
    from samba_server import SambaServer

    with (
        tempfile.TemporaryDirectory() as directory,
        SambaServer(Path(directory, "server"), global_settings={"smb2 max credits": str(granted)}) as samba,
        opened(samba, timeout=10.0) as store,
    ):
        store.atomic_write("a.json", LARGE)
        for _ in range(2):  # the second time, its size is known
            assert store.read_snapshot("a.json").data == LARGE


def test_a_share_that_fills_up_while_a_write_is_on_its_way_keeps_the_old_document(
    samba: SambaServer, wire: WireProxy, needs_root: None
) -> None:
    volume = samba.directory / "volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0777,size=64m", "none", str(volume)], check=True)
    try:
        samba.add_share("volume", volume)
        with opened(samba, port=wire.port, share="volume") as store, ThreadPoolExecutor(1) as pool:
            store.atomic_write("a.json", OLD)
            wire.delay = 1.0  # seconds in which the share has to be filled, on a busy machine too
            with wire.counting() as counted:
                writing = pool.submit(written, store, volume / "a.json", b"n" * 200_000)
                eventually(lambda: counted.requests == 1)
                with suppress(OSError), (volume / "filler").open("wb", buffering=0) as filler:
                    while filler.write(bytes(1 << 20)):
                        pass
                assert writing.result() is False
        assert (volume / "a.json").read_bytes() == OLD
    finally:
        subprocess.run(["umount", "--lazy", str(volume)], check=True)
