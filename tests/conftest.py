"""What all tests share: stores of both kinds, and how to say what a machine lacks."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vault import Vault

from exlab_store import Store, open_store
from exlab_store.opening import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgresql_server import PostgresqlServer
    from samba_server import SambaServer
    from seaweed_server import SeaweedServer
    from signal_strikes import Alarm
    from windows_python import WindowsPython
    from wire_proxy import WireProxy


# A shell has what it starts in the background ignore SIGINT, and nohup SIGHUP; every process of a test would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def lacking(what: str) -> None:
    """Skips a test for want of a program or a right; where everything is required, fails it."""
    if os.environ.get("EXLAB_STORE_REQUIRE_ALL") == "1":
        pytest.fail(f"EXLAB_STORE_REQUIRE_ALL=1, and this machine lacks it: {what}")
    pytest.skip(what)


@pytest.fixture
def needs_root() -> None:
    if sys.platform == "win32" or os.geteuid() != 0:
        lacking("run the tests as root (sudo) to mount file systems and to change accounts")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may enter; tmp_path is closed to others, and made so again by each test run."""
    with tempfile.TemporaryDirectory(prefix="exlab-store-open-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def posix(tmp_path: Path) -> Iterator[Store]:
    """A store in a directory of its own."""
    with open_store(tmp_path) as store:
        yield store


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    """A handler of SIGALRM, in place for one test."""
    from signal_strikes import Alarm

    handler = Alarm()
    before = signal.signal(signal.SIGALRM, handler)
    yield handler
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedServer]:
    """An S3 server for all tests that want one: each has a folder of its own on it, or empties its bucket."""
    from seaweed_server import running_seaweed

    with running_seaweed() as found:
        yield found


@pytest.fixture
def memory() -> Iterator[Store]:
    """A fresh store in memory."""
    with open_store("memory://") as store:
        yield store


@pytest.fixture(params=["posix", "memory"])
def store(request: pytest.FixtureRequest) -> Store:
    """A store of each backend in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Store)
    return found


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of tests that are coroutines: each in turn."""
    if importlib.util.find_spec(request.param) is None:
        lacking(f"install {request.param} to run the coroutines under it: pip install {request.param}")
    return str(request.param)


@pytest.fixture
def samba_release() -> str:
    """Whose smbd `samba` is: the machine's own, unless a module runs its tests on more (see `shared_samba`)."""
    return "own"


@pytest.fixture(scope="module")
def server() -> Iterator[SambaServer]:
    """One Samba server for all tests of a module that has the mark ``one_server``."""
    from shared_samba import running_server

    with running_server() as found:
        yield found


@pytest.fixture
def samba(request: pytest.FixtureRequest, samba_release: str) -> Iterator[SambaServer]:
    """A Samba server of its own, in an eighth of a second; or, empty, the one that the tests of a module share."""
    from shared_samba import empty, running_server

    if request.node.get_closest_marker("one_server") is None:
        with running_server(samba_release) as found:
            yield found
    else:
        server = request.getfixturevalue("server")
        empty(server)
        yield server


@pytest.fixture
def wire(samba: SambaServer) -> Iterator[WireProxy]:
    """The network before the server, which counts, delays and fails: ``samba.url(port=wire.port)``."""
    from wire_proxy import WireProxy

    with WireProxy("127.0.0.1", samba.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def windows() -> Iterator[WindowsPython]:
    """CPython for Windows, under wine; made and installed at its first use, which takes a minute or two."""
    from windows_python import WindowsPython, wine

    if wine() is None:
        lacking("install wine to run Python for Windows: apt-get install wine")
    with (
        tempfile.TemporaryDirectory(prefix="exlab-store-windows-", ignore_cleanup_errors=True) as folder,
        WindowsPython(Path(folder)) as found,
    ):
        yield found


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """One PostgreSQL server for the whole run; a test uses a table of its own on it."""
    from postgresql_server import PostgresqlServer

    with PostgresqlServer({"max_connections": "200"}) as found:
        yield found


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serves ``vault://``, a backend that needs a password and fails on demand."""
    monkeypatch.setitem(registry._openers, "vault", Vault.open)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(Vault, "failing", "")
