"""What a store on an SFTP server costs beside fsspec's ``sftp``: ``python tests/benchmarks/sftp.py [--strict]``.

It starts OpenSSH's ``sshd`` and measures through a proxy, without delay, with a round trip of 10 ms, and with one of
20 ms (10 ms each way). Every ratio is of medians of interleaved samples of one run. The peer does what can be done with
fsspec's ``sftp`` filesystem, which is paramiko's: a temporary file, and a rename over the document, which is atomic and
flushes nothing; it is left out where paramiko is not installed. A write of the store is flushed, with its folder, where
the account has a shell; beside it stands a store that uses SFTP alone, whose write is flushed but for the rename.

``--strict`` makes it an error that a write with a shell is less than three times as fast as the peer's where each way
takes 10 ms; ``--quick`` takes few samples, shows that all of it works, and judges nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from measuring import Limit, Result, compare

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ssh_server import HOST, SshFraming, SshServer, find_sshd
from wire_proxy import WireProxy

from exlab_store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

STORE, ALONE, PEER = "with a shell", "SFTP alone", "fsspec"
WANTED = 3.0  # times as fast as the peer
DELAYS = (0.0, 0.010, 0.020)  # seconds of a round trip


def _payload(number: int) -> bytes:
    return number.to_bytes(8, "little") * 256


class Peer:
    """fsspec's filesystem."""

    def __init__(self, server: SshServer, port: int) -> None:
        from fsspec.implementations.sftp import SFTPFileSystem

        self._files = SFTPFileSystem(
            HOST, port=port, username=server.user, key_filename=str(server.directory / "user"), skip_instance_cache=True
        )
        self._folder = str(server.root)

    def replace(self, number: int) -> None:
        self._files.pipe_file(f"{self._folder}/peer.json.tmp", _payload(number))
        self._files.mv(f"{self._folder}/peer.json.tmp", f"{self._folder}/peer.json")

    def read(self, _: int) -> bytes:
        return bytes(self._files.cat_file(f"{self._folder}/read.json"))


def _store(server: SshServer, port: int, stack: ExitStack) -> Store:
    options = {**server.options, "host_key": server.host_key}
    del options["known_hosts"]
    return stack.enter_context(open_store(server.url(port=port), **options))


def run(server: SshServer, *, quick: bool) -> list[tuple[float, Result]]:
    """All comparisons, each with the seconds of its round trip."""
    with ExitStack() as stack:
        wires = [
            stack.enter_context(WireProxy(HOST, port, framing=SshFraming))
            for port in (server.port, server.bare_port, server.port)
        ]
        store, alone = (_store(server, wire.port, stack) for wire in wires[:2])
        peer = Peer(server, wires[2].port) if importlib.util.find_spec("paramiko") is not None else None
        store.atomic_write("read.json", _payload(1))
        found: list[tuple[float, Result]] = []
        for delay in DELAYS:
            for wire in wires:
                wire.delay = delay / 2
            rounds = 3 if quick else 40
            writes: dict[str, Callable[[int], object]] = {
                STORE: lambda n: store.atomic_write("ours.json", _payload(n)),
                ALONE: lambda n: alone.atomic_write("alone.json", _payload(n)),
            }
            reads: dict[str, Callable[[int], object]] = {
                STORE: lambda _: store.read_snapshot("read.json"),
                ALONE: lambda _: alone.read_snapshot("read.json"),
            }
            if peer is not None:
                writes[PEER], reads[PEER] = peer.replace, peer.read
            updates = {STORE: lambda n: store.update("update.json", lambda _: _payload(n))}
            none = Limit(STORE, STORE, float("inf"))
            for title, contenders in {"write of 2 KiB": writes, "read of 2 KiB": reads, "update": updates}.items():
                found.append((delay, compare(title, contenders, none, rounds=rounds)))
        return found


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if find_sshd() is None:
        sys.exit("install Debian's package openssh-server")
    with tempfile.TemporaryDirectory(prefix="exlab-store-sshd-") as directory:
        Path(directory).chmod(0o755)
        with SshServer(Path(directory)) as server:
            results = run(server, quick=arguments.quick)
    failed = False
    print("| Operation, round trip | milliseconds | times as fast as fsspec |\n|---|---|---|")
    for delay, result in results:
        medians = {name: f"{name} {1000 * value:.1f}" for name, value in result.medians.items()}
        ratios = {
            name: result.medians[PEER] / value
            for name, value in result.medians.items()
            if PEER in result.medians and name != PEER
        }
        shown = ", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items())
        print(f"| {result.title}, {1000 * delay:.0f} ms | {', '.join(medians.values())} | {shown} |")
        failed = failed or (delay == DELAYS[-1] and "write" in result.title and ratios.get(STORE, WANTED) < WANTED)
    return int(failed and arguments.strict and not arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
