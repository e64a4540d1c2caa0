"""The conformance kit over the S3 backend, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from seaweed_server import BUCKET

from exlab_store import Guarantees, Location, open_store
from exlab_store.testing import BackendConformance, Harness

if TYPE_CHECKING:
    from seaweed_server import SeaweedServer

    from exlab_store import Backend

pytestmark = pytest.mark.one_interpreter


class S3Harness(Harness):
    """The whole bucket, as names have 1,024 bytes with their folder; the oracle uses obstore alone."""

    lease = 4.0

    def __init__(self, server: SeaweedServer) -> None:
        self.location = f"s3://{BUCKET}"
        self.options = {**server.options, "lease": 3.0}
        self.secrets = [str(server.options["secret_access_key"])]
        self._objects = server.objects()
        server.empty()

    def open(self) -> Backend:
        from exlab_store_s3 import open_backend

        assert self.location is not None
        return open_backend(Location.parse(self.location), self.options)

    def raw_read(self, key: str) -> bytes | None:
        try:
            return bytes(self._objects.get(key).bytes())
        except FileNotFoundError:
            return None

    def raw_write(self, key: str, data: bytes) -> None:
        self._objects.put(key, data)

    def raw_list(self) -> list[str]:
        return [meta["path"] for batch in self._objects.list() for meta in batch]

    def break_lock(self, key: str) -> None:
        self._objects.delete(f"{key}.lock")


class TestS3(BackendConformance):
    @pytest.fixture
    def harness(self, seaweed: SeaweedServer) -> S3Harness:
        return S3Harness(seaweed)


@pytest.mark.parametrize("durable", [False, True])
def test_a_server_that_keeps_every_condition_gives_all_but_a_fence(seaweed: SeaweedServer, durable: bool) -> None:
    with open_store(seaweed.folder(), durable=durable, **seaweed.options) as store:
        assert store.guarantees == Guarantees(
            atomic_replace=True,
            durable=durable,
            conditional_write="native",
            lock_scope="site",
            lock_release="lease",
            fenced=False,
            lists=True,
            deletes=True,
            fresh="always",
            watch="polled",
        )
