"""The conformance kit over mounted shares, run by two clients: each store that it opens is on the other one."""

from __future__ import annotations

from itertools import cycle

import pytest
from exlab_store_posix import PosixBackend
from files_harness import FilesHarness

from exlab_store.testing import BackendConformance
from mounts.machines import Site, new_site

pytestmark = [pytest.mark.one_interpreter, pytest.mark.slow]


class MountHarness(FilesHarness):
    """A folder that clients a and b have mounted; what the kit looks at by itself, it looks at on the server."""

    patience = 60.0  # seconds; a call to a cifs mount takes 30 ms in the guest, and this machine may be busy

    def __init__(self, site: Site) -> None:
        self._site = site
        self.root = site.server
        self._clients = cycle([site.a, site.b])

    def stay(self) -> None:
        """Opens further stores on one client."""
        self._clients = cycle([self._site.a])

    @property
    def location(self) -> str:
        return next(self._clients).as_uri()

    def open(self) -> PosixBackend:
        return PosixBackend(str(next(self._clients)))


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
