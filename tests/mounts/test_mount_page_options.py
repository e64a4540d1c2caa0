"""A client mounts the share with the options of the page "Mount a NAS", and a store works there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from exlab_store import open_store
from mounts.machines import EXPORT, PASSWORD, USER, A

pytestmark = pytest.mark.one_interpreter

_PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "mount-a-nas.md"
_KEY = "Messgerät µ.json"  # beyond ASCII: its name is the same on the server
# What systemd and mount(8) take for themselves.
_OF_USER_SPACE = ("_netdev", "nofail", "x-systemd.")


def _options(name: str) -> str:
    line = _PAGE.read_text(encoding="utf-8").split(f":caption: {name}\n\n", 1)[1].split("\n", 1)[0]
    return ",".join(each for each in line.split()[3].split(",") if not each.startswith(_OF_USER_SPACE))


def _works(point: Path) -> None:
    with open_store(point) as store:
        assert store.update(_KEY, lambda current: b"1") == store.read_snapshot(_KEY).version


@pytest.mark.parametrize("name", ["fstab-nfs", "fstab-cifs"])
def test_a_store_works_on_a_mount_with_the_options_that_are_shown(name: str, tmp_path: Path) -> None:
    credentials = tmp_path / "nas01.cred"
    credentials.write_text(f"username={USER}\npassword={PASSWORD}\n")
    options = _options(name).replace("/etc/exlab/nas01.cred", str(credentials))
    options = options.replace("id=lab", "id=root")  # the guest has no account lab
    point = Path("/mnt", f"page-{name}")
    point.mkdir()
    (EXPORT / name).mkdir(mode=0o777)
    kind, source = ("nfs4", f"{A.server}:/") if name == "fstab-nfs" else ("cifs", f"//{A.server}/lab")
    subprocess.run(A.command("mount", "-t", kind, "-o", options, source, point), check=True, timeout=60)
    with A.pool() as pool:
        pool.submit(_works, point / name).result()
    assert (EXPORT / name / _KEY).read_bytes() == b"1"
