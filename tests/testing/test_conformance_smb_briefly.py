"""What the kit asks of the parts of the SMB backend that depend on Python: threads, waiting, errors and their frames.

The whole kit runs once, on both releases of Samba, in test_conformance_smb.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from shared_samba import running_server
from test_conformance_smb import SmbHarness

from exlab_store.testing.conformance.changes import Watching
from exlab_store.testing.conformance.errors import Errors
from exlab_store.testing.conformance.fencing import Fencing
from exlab_store.testing.conformance.locks import Exclusion, Waiting
from exlab_store.testing.conformance.registration import Unclaimed
from exlab_store.testing.conformance.secrets import Secrets
from exlab_store.testing.conformance.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer


@pytest.fixture(scope="module")
def server() -> Iterator[SambaServer]:
    """One server for all of this module; each test has a folder of its own on it."""
    with running_server() as found:
        yield found


class TestSmbBriefly(Unclaimed, Errors, Exclusion, Waiting, Fencing, Watching, Secrets, Upkeep):
    @pytest.fixture
    def harness(self, server: SambaServer) -> SmbHarness:
        return SmbHarness(server)
