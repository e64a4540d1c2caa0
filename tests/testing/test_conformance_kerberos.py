"""The conformance kit over SMB with a Kerberos ticket, everything encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kerberos_realm import Site, running_site
from test_conformance_smb import SmbHarness

from exlab_store.testing import BackendConformance
from exlab_store.testing.conformance.fencing import Fencing
from exlab_store.testing.conformance.locks import ProcessLocks

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.one_interpreter


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One realm for all of this module, with a ticket."""
    with running_site() as found:
        found.realm.log_in()
        yield found


class OverKerberos:
    """The clients of the kit, which are processes, take the ticket from the cache too."""

    @pytest.fixture
    def harness(self, site: Site) -> SmbHarness:
        harness = SmbHarness(site.server)
        harness.location = site.url(harness.root.name)
        harness.options = {"auth_protocol": "kerberos", "encrypt": True}
        return harness


class TestFencing(OverKerberos, Fencing):
    """By default, the promises that hang on the session."""


class TestProcessLocks(OverKerberos, ProcessLocks):
    """By default, those that several sessions of one ticket keep."""


@pytest.mark.slow
class TestKerberosEncrypted(OverKerberos, BackendConformance):
    """All of them."""
