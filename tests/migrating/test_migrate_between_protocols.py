"""A site outgrows its place again and again: a directory, S3, PostgreSQL, SFTP, a directory; each move is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from ssh_server import new_folder, running_sshd
from waiting import comes_to

from exlab_store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from postgresql_server import PostgresqlServer
    from seaweed_server import SeaweedServer
    from ssh_server import SshServer

pytestmark = pytest.mark.one_interpreter

LEGS = ("directory", "s3", "postgresql", "sftp", "back")


@pytest.fixture
def sshd() -> Iterator[SshServer]:
    with running_sshd() as found:
        yield found


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
    return json.dumps(value)


@pytest.fixture
def site(
    tmp_path: Path,
    seaweed: SeaweedServer,
    postgresql: PostgresqlServer,
    sshd: SshServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A configuration that names all places."""
    monkeypatch.setenv("SITE_PASSWORD", postgresql.password)
    of_sftp = sshd.options
    username = of_sftp.pop("username")
    stores: Mapping[str, Mapping[str, object]] = {
        "directory": {"url": str(tmp_path / "old")},
        "s3": {"url": seaweed.folder(), "options": {**seaweed.options, "lease": 2.0}},
        "postgresql": {
            "url": postgresql.url("lab"),
            "password": {"env": "SITE_PASSWORD"},
            "options": {"table": "between_protocols"},
        },
        "sftp": {"url": sshd.url(new_folder(sshd).name), "username": username, "options": of_sftp},
        "back": {"url": str(tmp_path / "new")},
    }
    lines = [
        line
        for name, fields in stores.items()
        for line in (f"[stores.{name}]", *(f"{field} = {_toml(value)}" for field, value in fields.items()))
    ]
    file = tmp_path / "exlab-store.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("EXLAB_STORE_CONFIG", str(file))


def _migration(source: str, target: str, printed: Path) -> subprocess.Popen[bytes]:
    # The leases that the killed one has left in S3 end by themselves: wait longer than that.
    wanted = ["--create", "--lock-timeout", "60"]
    command = [sys.executable, "-m", "exlab_store.cli", "migrate", f"@{source}", f"@{target}", *wanted]
    with printed.open("wb") as output:
        return subprocess.Popen(command, env=dict(os.environ), stdout=output, stderr=output)


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("count", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_documents_are_the_same_after_a_tour_of_all_protocols_though_each_move_is_killed_once(
    tmp_path: Path, count: int
) -> None:
    documents = {f"INSTRUMENT_{n % 20:02}/run {n}.json": os.urandom(16).hex().encode() * (n % 50) for n in range(count)}
    for key, data in documents.items():
        path = tmp_path / "old" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    printed = tmp_path / "printed"
    for source, target in pairwise(LEGS):
        killed = _migration(source, target, printed)
        with open_store(f"@{target}", create=True) as there:
            half_way = lambda: len(there.list_keys()) >= count // 2 or killed.poll() is not None  # noqa: B023, E731
            assert comes_to(half_way, 300)
            killed.send_signal(signal.SIGKILL)
            killed.wait(30)
            assert _migration(source, target, printed).wait(300) == 0, printed.read_text()
            assert {key: there.read_snapshot(key).data for key in there.list_keys()} == documents
