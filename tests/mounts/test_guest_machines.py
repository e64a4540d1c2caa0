"""The machines that the other tests of this folder run on are what they are said to be."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from exlab_store import open_store
from mounts.machines import KINDS, A, B, C, Machine, Site

pytestmark = pytest.mark.one_interpreter


def _write(folder: Path) -> None:
    with open_store(folder) as store:
        store.atomic_write("d.json", b"{}")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in {"nfs-4.2", "cifs-strict"} else pytest.mark.slow) for kind in KINDS]
)
def test_what_one_client_writes_stands_on_the_server(site: Site) -> None:
    with A.pool() as a:
        a.submit(_write, site.a).result()
    assert (site.server / "d.json").read_bytes() == b"{}"


@pytest.mark.parametrize("machine", [A, B, C])
def test_a_client_has_a_name_of_its_own(machine: Machine) -> None:
    with machine.pool() as pool:
        assert pool.submit(socket.gethostname).result() == f"client-{machine.name}"
