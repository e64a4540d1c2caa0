"""The conformance kit over the SMB backend, on servers that grant little: what it fences and expects by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from shared_samba import running_server
from test_conformance_smb import SmbHarness

from exlab_store.testing import BackendConformance
from exlab_store.testing.conformance.expectations import Expectations
from exlab_store.testing.conformance.fencing import Fencing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

SETTINGS = {
    "8 credits": {"smb2 max credits": "8"},
    "SMB 2.0.2": {"server min protocol": "SMB2_02", "server max protocol": "SMB2_02"},
}


@pytest.fixture(scope="module", params=[*SETTINGS.values()], ids=[*SETTINGS])
def server(request: pytest.FixtureRequest) -> Iterator[SambaServer]:
    with running_server(global_settings=request.param) as found:
        yield found


class TestLowLimitsFenced(Fencing, Expectations):
    @pytest.fixture
    def harness(self, server: SambaServer) -> SmbHarness:
        return SmbHarness(server)


@pytest.mark.slow
class TestLowLimits(BackendConformance):
    @pytest.fixture
    def harness(self, server: SambaServer) -> SmbHarness:
        return SmbHarness(server)
