"""The conformance kit over mounted shares, run by two clients: each store that it opens is on the other one."""

from __future__ import annotations

import os
from itertools import cycle

import pytest
from exlab_store_posix import PosixBackend

from exlab_store import lock_key
from exlab_store.testing import BackendConformance, Harness
from mounts.machines import Site, new_site

pytestmark = [pytest.mark.one_interpreter, pytest.mark.slow]


class MountHarness(Harness):
    """A folder that clients a and b have mounted; what the kit looks at by itself, it looks at on the server."""

    patience = 60.0  # seconds; a call to a cifs mount takes 30 ms in the guest, and this machine may be busy

    def __init__(self, site: Site) -> None:
        self._site = site
        self._clients = cycle([site.a, site.b])

    def stay(self) -> None:
        """Opens further stores on one client."""
        self._clients = cycle([self._site.a])

    @property
    def location(self) -> str:
        return next(self._clients).as_uri()

    def open(self) -> PosixBackend:
        return PosixBackend(str(next(self._clients)))

    def raw_read(self, key: str) -> bytes | None:
        try:
            return (self._site.server / key).read_bytes()
        except FileNotFoundError:
            return None

    def raw_write(self, key: str, data: bytes) -> None:
        (self._site.server / key).parent.mkdir(parents=True, exist_ok=True)
        (self._site.server / key).write_bytes(data)

    def raw_list(self) -> list[str]:
        root = self._site.server
        return [
            os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names
        ]

    def break_lock(self, key: str) -> None:
        (self._site.server / lock_key(key)).unlink()


class _OnMounts(BackendConformance):
    def test_every_error_names_the_location_that_was_opened(self, harness: MountHarness) -> None:
        harness.stay()
        super().test_every_error_names_the_location_that_was_opened(harness=harness)


class TestNfs(_OnMounts):
    @pytest.fixture
    def harness(self) -> MountHarness:
        return MountHarness(new_site("nfs-4.2"))


class TestCifs(_OnMounts):
    @pytest.fixture
    def harness(self) -> MountHarness:
        return MountHarness(new_site("cifs-strict"))
