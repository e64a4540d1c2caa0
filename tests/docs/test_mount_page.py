"""The page "Mount a NAS": programs understand the files that it shows, and its options are those that are known."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import lacking

from exlab_store.doctor.mounts import Mount, judged

pytestmark = pytest.mark.one_interpreter

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "mount-a-nas.md").read_text(encoding="utf-8")


def _file(name: str) -> str:
    return PAGE.split(f":caption: {name}\n\n", 1)[1].split("```", 1)[0]


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(str(command[0])) is None:
        lacking(f"install the Debian package that has {command[0]}: util-linux, systemd or autofs")
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["fstab-nfs", "fstab-cifs"])
def test_a_line_of_fstab_has_no_error(name: str, tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    table.write_text(_file(name).replace("/mnt/lab", str(tmp_path)))
    done = _run("findmnt", "--verify", "--verbose", "--tab-file", table)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Success, no errors or warnings detected" in done.stdout


def test_a_line_of_fstab_that_cannot_be_read_would_be_found(tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    table.write_text(_file("fstab-nfs").replace("/mnt/lab", str(tmp_path)).replace(",hard", ", hard"))
    assert _run("findmnt", "--verify", "--tab-file", table).returncode


def _verified(folder: Path, change: str = "", into: str = "") -> str:
    names = ["mnt-lab.mount", "mnt-lab.automount", "acquisition.service"]
    for name in names:
        (folder / name).write_text(_file(name).replace(change, into) if change else _file(name))
    done = _run("systemd-analyze", "verify", *(folder / name for name in names))
    return done.stdout + done.stderr


def test_systemd_takes_the_units_as_they_are_shown(tmp_path: Path) -> None:
    assert _verified(tmp_path) == ""


def test_a_unit_whose_name_is_not_that_of_its_mount_point_would_be_found(tmp_path: Path) -> None:
    assert "doesn't match unit name" in _verified(tmp_path, "Where=/mnt/lab", "Where=/mnt/other")


@pytest.mark.usefixtures("needs_root")
def test_autofs_understands_its_maps(tmp_path: Path) -> None:
    maps = tmp_path / "auto.master.d"
    maps.mkdir()
    (tmp_path / "auto.lab").write_text(_file("auto.lab"))
    (maps / "lab.autofs").write_text(_file("lab.autofs").replace("/etc/auto.lab", str(tmp_path / "auto.lab")))
    if shutil.which("automount") is None:
        lacking("install Debian's package autofs: its automount reads the maps of the page about mounts")
    script = 'mount --bind "$0" /etc/auto.master.d && exec automount -m'
    done = _run("unshare", "--mount", "sh", "-c", script, maps)
    assert re.search(r"^Mount point: /nas$", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert "lab | -fstype=nfs4,vers=4.2,hard,nosuid,nodev nas01:/lab" in " ".join(done.stdout.split())


def test_the_doctor_finds_each_option_that_takes_something_away() -> None:
    table = PAGE.split("| Option | Of | What it does |\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    before = ""
    for row in table:
        options, of, effect = (cell.strip() for cell in row.strip("|").split(" | "))
        before = before if effect == "the same" else effect
        for option in re.findall("`(.+?)`", options):
            given = f"{option}=all" if option == "local_lock" else option
            found = judged(Mount("nfs4" if of == "NFS" else "cifs", "/mnt/lab", ("rw", given)), "6.1.0")
            assert found.outcome == "warn", option
            assert before.split(":")[0] in found.observed


def test_the_doctor_finds_nothing_in_the_options_that_are_shown() -> None:
    for name, kind in (("fstab-nfs", "nfs4"), ("fstab-cifs", "cifs")):
        options = tuple(_file(name).split()[3].split(","))
        assert judged(Mount(kind, "/mnt/lab", options), "6.1.0").outcome == "pass"
