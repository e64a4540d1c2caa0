"""The conformance kit over fsspec's memory and local files, and over WebDAV on a real Apache and a real nginx."""

from __future__ import annotations

import shutil
import uuid
from typing import TYPE_CHECKING

import pytest
from exlab_store_fsspec import FsspecBackend, open_backend
from files_harness import FilesHarness
from fsspec.implementations.memory import MemoryFileSystem
from web_servers import running_web_server

from exlab_store import Location
from exlab_store.testing import BackendConformance, Harness
from exlab_store.testing.conformance.concurrency import Torn
from exlab_store.testing.conformance.errors import Errors
from exlab_store.testing.conformance.expectations import ExpectationRaces, Expectations
from exlab_store.testing.conformance.freshness import Freshness
from exlab_store.testing.conformance.leftovers import Leftovers
from exlab_store.testing.conformance.listing import Deleting, Listing
from exlab_store.testing.conformance.registration import Registration, Unclaimed
from exlab_store.testing.conformance.round_trips import RoundTrips, Versions
from exlab_store.testing.conformance.secrets import Secrets
from exlab_store.testing.conformance.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from web_servers import WebServer


pytestmark = pytest.mark.one_interpreter


class MemoryHarness(Harness):
    # No other process reaches it: the kit is given no location.

    def __init__(self) -> None:
        self._folder = uuid.uuid4().hex

    def open(self) -> FsspecBackend:
        return open_backend(Location.parse(f"fsspec+memory://{self._folder}", create=True), {})

    def raw_read(self, key: str) -> bytes | None:
        found = MemoryFileSystem.store.get(f"/{self._folder}/{key}")
        return None if found is None else found.getvalue()

    def raw_write(self, key: str, data: bytes) -> None:
        MemoryFileSystem().pipe_file(f"/{self._folder}/{key}", data)

    def raw_list(self) -> list[str]:
        above = f"/{self._folder}/"
        return [name.removeprefix(above) for name in list(MemoryFileSystem.store) if name.startswith(above)]


class TestFsspecMemory(BackendConformance):
    @pytest.fixture
    def harness(self) -> Iterator[MemoryHarness]:
        yield MemoryHarness()
        MemoryFileSystem.store.clear()


class LocalHarness(FilesHarness):
    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = f"fsspec+file://{root}"

    def open(self) -> FsspecBackend:
        assert self.location is not None
        return open_backend(Location.parse(self.location), {})


@pytest.mark.slow
class TestFsspecFiles(BackendConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> LocalHarness:
        return LocalHarness(tmp_path)


class WebdavHarness(FilesHarness):
    """A folder of its own on a server that the tests share."""

    patience = 30.0  # a key of 512 folders takes a thousand requests

    def __init__(self, server: WebServer) -> None:
        folder = uuid.uuid4().hex
        self.root = server.root / folder
        self.root.mkdir()
        server.give(self.root)
        self.location = server.location(folder)
        self.options = {"tls": False}
        self.secrets = [server.password]
        self._server = server

    def open(self) -> FsspecBackend:
        assert self.location is not None
        return open_backend(Location.parse(self.location), self.options)

    def raw_write(self, key: str, data: bytes) -> None:
        super().raw_write(key, data)
        path = self.root / key
        while path != self.root:
            self._server.give(path)
            path = path.parent


# nginx in each run; the long form has Apache too, whose parts of the protocol the other tests of WebDAV try.
@pytest.fixture(scope="module", params=["nginx", pytest.param("apache", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> Iterator[WebServer]:
    with running_web_server(request.param) as found:
        yield found


class OnWebServer:
    @pytest.fixture
    def harness(self, server: WebServer) -> Iterator[WebdavHarness]:
        made = WebdavHarness(server)
        yield made
        shutil.rmtree(made.root, ignore_errors=True)


class TestWebdavBriefly(
    OnWebServer,
    Registration,
    Unclaimed,
    RoundTrips,
    Versions,
    Freshness,
    Expectations,
    ExpectationRaces,
    Listing,
    Deleting,
    Torn,
    Errors,
    Secrets,
    Leftovers,
    Upkeep,
):
    """What WebDAV promises; the whole kit takes minutes, as each folder of a key is a request or two."""


@pytest.mark.slow
class TestWebdav(OnWebServer, BackendConformance):
    """The whole kit."""
