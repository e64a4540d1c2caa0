"""What a program meets whose server does not answer, as the page "Mount a NAS" says it of hard and soft mounts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mounts.machines import EXPORT, A

pytestmark = [pytest.mark.one_interpreter, pytest.mark.slow]

_READER = """
import sys
from exlab_store import StoreError, open_store
store = open_store(sys.argv[1])
store.atomic_write("d.json", b"1")
print("ready", flush=True)
sys.stdin.readline()
try:
    print(store.read_snapshot("d.json").data.decode(), flush=True)
except StoreError as error:
    print(error.code, flush=True)
"""
_AWAY = 20.0
_GIVEN_UP = 240.0


def _mounted(kind: str, options: str) -> Path:
    """Mounts the share; the network was cut a moment ago, and a first try may still meet that."""
    end = time.monotonic() + 60
    while True:
        try:
            return A.mount(kind, options)
        except subprocess.CalledProcessError:
            if time.monotonic() > end:
                raise
            time.sleep(1)


@pytest.fixture
def cut_off(kind: str, options: str) -> Iterator[subprocess.Popen[str]]:
    """A program on client a that reads a document, after a has been cut off from the server."""
    name = f"away-{kind}-{options.replace(',', '-').replace('=', '')}"
    (EXPORT / name).mkdir(mode=0o777)
    command = A.python("-c", _READER, _mounted(kind, options) / name)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        # A cifs mount keeps a file open for a second after the last read, and asks the server for nothing meanwhile.
        with pytest.raises(subprocess.TimeoutExpired):
            reader.wait(10)
        A.cut()
        try:
            reader.stdin.write("\n")
            reader.stdin.flush()
            yield reader
        finally:
            A.restore()
            reader.kill()


@pytest.mark.parametrize(
    ("kind", "options"), [("nfs-4.2", "soft,timeo=50,retrans=2"), ("cifs-strict", "echo_interval=10")]
)
def test_on_a_soft_mount_a_read_is_given_up(cut_off: subprocess.Popen[str]) -> None:
    said, _ = cut_off.communicate(timeout=_GIVEN_UP)
    assert said == "backend_unavailable\n"


@pytest.mark.parametrize(("kind", "options"), [("nfs-4.2", "hard"), ("cifs-strict", "hard,echo_interval=10")])
def test_on_a_hard_mount_a_read_waits_for_the_server(cut_off: subprocess.Popen[str]) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        cut_off.wait(_AWAY)
    A.restore()
    said, _ = cut_off.communicate(timeout=_GIVEN_UP)
    assert said == "1\n"


@pytest.mark.parametrize(("kind", "options"), [("nfs-4.2", "hard,nosuid")])
def test_a_program_that_waits_on_a_hard_mount_can_be_killed(cut_off: subprocess.Popen[str]) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        cut_off.wait(_AWAY)
    cut_off.kill()
    assert cut_off.wait(_AWAY) == -9
