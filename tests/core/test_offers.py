"""Backends are found by the entry points of distributions, whatever else is wrong with other people's metadata."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest

from exlab_store import NotSupported, PluginError, UnknownScheme, installed_backends, open_store
from exlab_store.doctor import examine
from exlab_store.opening import offers as offers_module
from exlab_store.opening.interpreter import own_interpreter
from exlab_store.opening.metadata import own_field
from exlab_store.opening.offers import offers_of
from exlab_store.opening.registry import GROUP

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def distribution(
    site: Path, folder: str, entry_points: str | bytes, metadata: str = "Name: foreign\nVersion: 1.0\n"
) -> None:
    made = site / folder
    made.mkdir()
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\n{metadata}")
    (made / "entry_points.txt").write_bytes(entry_points.encode() if isinstance(entry_points, str) else entry_points)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder before all others on the path of this process."""
    found = tmp_path / "site"
    found.mkdir()
    monkeypatch.syspath_prepend(str(found))
    return found


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder behind all others on the path of this process."""
    found = tmp_path / "older"
    found.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(found)])
    return found


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "exlab_store.cli", *arguments]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)


def schemes() -> set[str]:
    return {offer.name for offer in offers_of("exlab_store.backends") if offer.fault is None}


@pytest.mark.parametrize(
    "damage",
    [
        "[other.group]\njust a line\n",
        "[exlab_store.backends\n",
        "garbage before any section\n[exlab_store.backends]\n",
        b"[exlab_store.backends]\n\xff\xfe = \xfc\n",
        "[exlab_store.backends]\n= \n",
        "",
    ],
)
def test_a_broken_line_of_anybody_s_metadata_hides_no_backend(site: Path, damage: str | bytes) -> None:
    distribution(site, "foreign-1.0.dist-info", damage)
    assert schemes() >= {"file", "memory", "smb"}


@pytest.mark.parametrize("metadata", ["", "Version: 1.0\n", "Name: foreign\n"])
def test_a_distribution_without_a_name_or_a_version_offers_what_it_has(site: Path, metadata: str) -> None:
    distribution(site, "foreign-1.0.dist-info", "[exlab_store.backends]\ntoy = toy:open_backend\n", metadata)
    assert schemes() >= {"file", "toy"}


def test_what_an_interrupted_uninstall_has_left_hides_nothing(site: Path) -> None:
    (site / "exlab_store-0.0.9.dist-info").mkdir()
    assert schemes() >= {"file", "memory", "smb"}


def test_a_broken_entry_point_of_a_backend_is_listed_with_its_cause(site: Path) -> None:
    distribution(site, "foreign-1.0.dist-info", "[exlab_store.backends]\nfoo = not valid!\n")
    (broken,) = [backend for backend in installed_backends() if backend.scheme == "foo"]
    assert (broken.distribution, broken.version) == ("foreign", "1.0")
    assert broken.fault is not None
    assert "line 2 of its entry_points.txt is no entry point: 'foo = not valid!'" in broken.fault


def test_the_command_lists_backends_beside_broken_metadata(tmp_path: Path) -> None:
    distribution(tmp_path, "foreign-1.0.dist-info", "[other.group]\njust a line\n")
    (tmp_path / "exlab_store-0.0.9.dist-info").mkdir()
    result = run("plugins", "--json", PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    assert '"file"' in result.stdout


# Several distributions of one name


def offered(scheme: str) -> list[tuple[str, str]]:
    return [(offer.version, offer.value) for offer in offers_of(GROUP) if offer.name == scheme]


def test_the_first_of_two_versions_on_the_path_counts(site: Path, tmp_path: Path, older: Path) -> None:
    distribution(site, "toy-2.0.dist-info", f"[{GROUP}]\ntoy = new:open_backend\n", "Name: toy\nVersion: 2.0\n")
    distribution(older, "Toy-1.0.dist-info", f"[{GROUP}]\ntoy = old:open_backend\n", "Name: Toy\nVersion: 1.0\n")
    assert offered("toy") == [("2.0", "new:open_backend")]


def test_an_older_version_of_this_package_further_down_the_path_is_passed_over(older: Path) -> None:
    before = offered("file")
    metadata = "Name: exlab_store\nVersion: 0.0.9\n"
    distribution(older, "exlab_store-0.0.9.dist-info", f"[{GROUP}]\nfile = exlab_store_posix.old:it\n", metadata)
    assert offered("file") == before
    (file,) = [backend for backend in installed_backends() if backend.scheme == "file"]
    assert (file.fault, file.passed_over) == (None, ("exlab_store 0.0.9",))


@pytest.mark.parametrize("value", ["exlab_store_posix:open_backend", "exlab_store_posix.old:open_backend"])
def test_entry_points_that_an_interrupted_uninstall_has_left_yield_to_the_whole_distribution(
    site: Path, value: str
) -> None:
    before = offered("file")
    left = site / "exlab_store-0.0.9.dist-info"
    left.mkdir()
    (left / "entry_points.txt").write_text(f"[{GROUP}]\nfile = {value}\n")
    assert offered("file") == before


def test_a_distribution_without_metadata_has_the_name_of_its_folder(site: Path) -> None:
    (site / "toy_box-1.5.dist-info").mkdir()
    (site / "toy_box-1.5.dist-info" / "entry_points.txt").write_text(f"[{GROUP}]\ntoy = toy:open_backend\n")
    (toy,) = [offer for offer in offers_of(GROUP) if offer.name == "toy"]
    assert (toy.distribution, toy.version) == ("toy_box", "1.5")


def test_the_same_distribution_twice_on_the_path_is_nothing_to_tell(site: Path, older: Path) -> None:
    for folder in (site, older):
        distribution(folder, "toy-2.0.dist-info", f"[{GROUP}]\ntoy = toy:open_backend\n", "Name: toy\nVersion: 2.0\n")
    assert [offer.passed_over for offer in offers_of(GROUP) if offer.name == "toy"] == [()]


def test_two_distributions_of_different_names_stay_two(site: Path) -> None:
    for name in ("one", "two"):
        lines = f"[{GROUP}]\ntoy = {name}:open_backend\n"
        distribution(site, f"{name}-1.0.dist-info", lines, f"Name: {name}\nVersion: 1.0\n")
    with pytest.raises(PluginError, match="two backends serve 'toy': one and two"):
        open_store("toy://box")


@pytest.mark.one_interpreter
def test_the_command_says_what_was_passed_over(tmp_path: Path) -> None:
    for folder, number in (("a", "2.0"), ("b", "1.0")):
        (tmp_path / folder).mkdir()
        lines, metadata = f"[{GROUP}]\ntoy = toy:open_backend\n", f"Name: toy\nVersion: {number}\n"
        distribution(tmp_path / folder, f"toy-{number}.dist-info", lines, metadata)
    path = os.pathsep.join(str(tmp_path / folder) for folder in "ab")
    assert "passed over: toy 1.0" in run("plugins", PYTHONPATH=path).stdout


# This package's own metadata


def test_the_version_is_that_of_the_whole_distribution(tmp_path: Path) -> None:
    known = version("exlab-store")
    (tmp_path / "exlab_store-0.0.9.dist-info").mkdir()
    assert run("--version", PYTHONPATH=str(tmp_path)).stdout == f"exlab-store {known}\n"


def test_a_version_that_nobody_knows_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.distributions", lambda **_: [])
    assert own_field("Version") == []


def test_an_extra_is_named_beside_what_an_interrupted_uninstall_has_left(site: Path) -> None:
    (site / "exlab_store-0.0.9.dist-info").mkdir()
    with pytest.raises(UnknownScheme, match=r"pip install 'exlab-store\[otel\]'"):
        open_store("otel://nas01/lab")


# Frozen applications


def test_what_is_known_without_metadata_is_what_the_wheel_declares() -> None:
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]
    ours = {group: entries for group, entries in declared.items() if group.startswith("exlab_store.")}
    assert ours == offers_module._BUNDLED


def test_the_bundled_backends_are_found_without_any_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.distributions", list)
    assert schemes() == {"cifs", "file", "fsspec+*", "memory", "postgres", "postgresql", "s3", "sftp", "smb"}


def test_the_page_names_the_modules_and_packages_of_everything_that_is_bundled() -> None:
    page = (PROJECT.parent / "docs" / "how-to" / "ship-a-frozen-application.md").read_text(encoding="utf-8")
    extras = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    needed: set[str] = set()
    for entries in offers_module._BUNDLED.values():
        for entry in (EntryPoint("", value, "") for value in entries.values()):
            needed.add(entry.module.removesuffix(".bypass"))
            packages = [re.split(r"[\[>=]", each)[0] for extra in entry.extras for each in extras[extra]]
            needed |= {package.removesuffix("-api") for package in packages}
    assert sorted(name for name in needed if f"`{name}`" not in page) == []


def test_a_frozen_application_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(UnknownScheme, match="This application is frozen"):
        open_store("nowhere://place")


def test_a_frozen_application_is_not_started_in_the_place_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(NotSupported, match="frozen application has no Python"):
        own_interpreter()


@pytest.mark.parametrize("executable", ["", None, "/nowhere/python", "/", __file__])
def test_a_program_with_python_within_it_is_told_that_there_is_none_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(NotSupported, match=r"needs Python processes, and .*\(sys\.executable\)"):
        examine([tmp_path])
    with pytest.raises(NotSupported, match=r"needs Python processes, and .*\(sys\.executable\)"):
        own_interpreter()
