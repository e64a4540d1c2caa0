"""The conformance kit over the SFTP backend, on a real sshd: with a shell, and with SFTP alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from exlab_store_sftp import SftpBackend, open_backend
from files_harness import FilesHarness
from ssh_server import PASSPHRASE, SshServer, new_folder, running_sshd

from exlab_store import Guarantees, Location, open_store
from exlab_store.testing import BackendConformance
from exlab_store.testing.conformance.deleting_folders import DeletingFolders
from exlab_store.testing.conformance.errors import Errors
from exlab_store.testing.conformance.expectations import Expectations
from exlab_store.testing.conformance.fencing import Fencing
from exlab_store.testing.conformance.locks import Exclusion
from exlab_store.testing.conformance.registration import Registration, Unclaimed
from exlab_store.testing.conformance.secrets import Secrets
from exlab_store.testing.conformance.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.one_interpreter


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    """One server for all of this module; each test has a folder of its own on it."""
    with running_sshd() as found:
        yield found


class SftpHarness(FilesHarness):
    # The kit's strace would watch the client, which does not touch the files: there is no `local_root`. What the
    # server does with them is watched in test_sftp_durability.py.

    def __init__(self, server: SshServer, port: int, **options: object) -> None:
        self.root = new_folder(server)
        self.location = server.url(self.root.name, port=port)
        self.options = {**server.options, **options}
        self._server = server

    def open(self) -> SftpBackend:
        assert self.location is not None
        return open_backend(Location.parse(self.location), self.options)

    def cut(self) -> None:
        self._server.cut()


class Briefly(Unclaimed, Errors, Upkeep):
    """What the kit asks of each promise; the whole of it takes minutes, as each test opens some connections."""


class TestSftpWithShellBriefly(Briefly, Registration, Expectations, Exclusion, Fencing, DeletingFolders):
    @pytest.fixture
    def harness(self, server: SshServer) -> SftpHarness:
        return SftpHarness(server, server.port)


class TestSftpAloneBriefly(Briefly):
    @pytest.fixture
    def harness(self, server: SshServer) -> SftpHarness:
        return SftpHarness(server, server.bare_port)


@pytest.mark.slow
class TestSftpWithShell(BackendConformance):
    @pytest.fixture
    def harness(self, server: SshServer) -> SftpHarness:
        return SftpHarness(server, server.port)


@pytest.mark.slow
class TestSftpAlone(BackendConformance):
    @pytest.fixture
    def harness(self, server: SshServer) -> SftpHarness:
        return SftpHarness(server, server.bare_port)


@pytest.mark.slow
class TestSftpWithPassphrase(Secrets):
    @pytest.fixture
    def harness(self, server: SshServer) -> SftpHarness:
        harness = SftpHarness(server, server.port, key_file=str(server.directory / "sealed"), passphrase=PASSPHRASE)
        harness.secrets = [PASSPHRASE]
        return harness


def test_a_server_with_a_shell_gives_every_guarantee(server: SshServer) -> None:
    with open_store(server.url(), **server.options) as store:
        assert store.guarantees == Guarantees(
            atomic_replace=True,
            durable=True,
            conditional_write="locked",
            lock_scope="site",
            lock_release="crash",
            fenced=True,
            lists=True,
            deletes=True,
            fresh="always",
            watch="polled",
        )


def test_sftp_alone_replaces_lists_and_deletes(server: SshServer) -> None:
    with open_store(server.url(port=server.bare_port), **server.options) as store:
        assert store.guarantees == Guarantees(atomic_replace=True, lists=True, deletes=True, watch="polled")
