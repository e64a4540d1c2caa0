"""A name that the configuration gives another meaning is looked up again, also for documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exlab_store import LocationError, as_document, open_store
from exlab_store.opening.configuration import VARIABLE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "site.toml"
    monkeypatch.setenv(VARIABLE, str(file))
    return file


def test_a_document_is_where_the_configuration_says_now(tmp_path: Path, file: Path) -> None:
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
        file.write_text(f"[stores.lab]\nurl = '{tmp_path / folder}'\n")
        with open_store("@lab") as store:
            assert str(as_document("@lab/a.json")) == str(store / "a.json")


def test_a_name_is_unknown_once_there_is_no_configuration(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(f"[stores.lab]\nurl = '{tmp_path}'\n")
    as_document("@lab/a.json")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LocationError, match="there is no configuration of stores"):
        as_document("@lab/a.json")
