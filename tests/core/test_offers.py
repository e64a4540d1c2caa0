"""Backends are found by the entry points of distributions, whatever else is wrong with other people's metadata."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from exlab_store import NotSupported, UnknownScheme, installed_backends, open_store
from exlab_store.opening import offers as offers_module
from exlab_store.opening.interpreter import own_interpreter
from exlab_store.opening.offers import offers_of

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
    command = [sys.executable, "-m", "exlab_store.cli", "plugins", "--json"]
    result = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert '"file"' in result.stdout


# Frozen applications


def test_what_is_known_without_metadata_is_what_the_wheel_declares() -> None:
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]
    ours = {group: entries for group, entries in declared.items() if group.startswith("exlab_store.")}
    assert ours == offers_module._BUNDLED


def test_the_bundled_backends_are_found_without_any_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.distributions", list)
    assert schemes() == {"cifs", "file", "fsspec+*", "memory", "postgres", "postgresql", "s3", "sftp", "smb"}


def test_a_frozen_application_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(UnknownScheme, match="This application is frozen"):
        open_store("nowhere://place")


def test_a_frozen_application_is_not_started_in_the_place_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(NotSupported, match="frozen application has no Python"):
        own_interpreter()
