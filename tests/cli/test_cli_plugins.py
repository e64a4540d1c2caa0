"""``exlab-store plugins``, in a process of its own and outside a terminal."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from command_line import done, done_json, refused

from exlab_store import open_store

if TYPE_CHECKING:
    from pathlib import Path


def _backends(*arguments: object, **options: Any) -> dict[str, Any]:
    listed = done_json("plugins", *map(str, arguments), **options)["backends"]
    return {backend["scheme"]: backend for backend in listed}


def test_installed_backends_are_listed_with_what_they_guarantee(tmp_path: Path) -> None:
    backends = _backends(cwd=tmp_path)
    assert {"file", "memory"} <= backends.keys()
    with open_store(tmp_path) as store:
        durable = store.guarantees.durable
    file = backends["file"]
    assert (file["distribution"], file["version"], file["fault"]) == ("exlab-store", version("exlab-store"), None)
    assert file["guarantees_at"] == f"file://{tmp_path}"
    assert (file["guarantees"]["durable"], file["guarantees"]["lock_scope"]) == (durable, "host")
    assert backends["memory"]["guarantees_at"] == "memory://"
    assert backends["memory"]["guarantees"]["lock_scope"] == "process"


@pytest.mark.one_interpreter
def test_guarantees_are_those_of_the_location_that_is_given(tmp_path: Path) -> None:
    backends = _backends("--at", "picky://unavailable/lab", "--at", tmp_path / ".", with_faulty=True)
    assert backends["picky"]["guarantees_at"] == "picky://unavailable/lab"
    assert backends["picky"]["guarantees"]["lock_scope"] == "site"
    assert backends["file"]["guarantees_at"] == f"file://{tmp_path}"


def test_a_broken_backend_is_listed_with_its_cause_and_disturbs_no_other() -> None:
    backends = _backends(with_faulty=True)
    assert "exlab_store_faulty_and_missing" in backends["broken"]["fault"]
    assert backends["broken"]["guarantees"] is None
    assert backends["file"]["fault"] is None


@pytest.mark.one_interpreter
def test_where_guarantees_depend_on_the_location_it_says_so() -> None:
    assert _backends(with_faulty=True)["picky"]["guarantees"] is None
    assert "depends on the location" in done("plugins", with_faulty=True)


@pytest.mark.one_interpreter
def test_the_table_fits_80_columns(tmp_path: Path) -> None:
    lines = done("plugins", cwd=tmp_path, with_faulty=True).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("lock_scope" in line and line.endswith("host") for line in lines)


def test_a_location_that_no_backend_serves_is_wrong_usage() -> None:
    assert "no installed backend serves 'nfs'" in refused(2, "plugins", "--at", "nfs://nas01/lab")
