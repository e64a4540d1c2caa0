"""The pages for those who run a site have every error, every key and every place, as the code has them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from exlab_store_posix.claims import claims_of
from exlab_store_posix.mounts import FileSystem, MountedFileSystem
from site_places import COLUMNS, NEEDS, SERVED, claimed_cells, promised_without_server

from exlab_store import Guarantees, errors
from exlab_store.cli.exit_codes import exit_code_of
from exlab_store.guarantees import ConditionalWrite, Fresh, LockRelease, LockScope, Watch
from exlab_store.opening.secrets import SecretSource
from exlab_store.opening.store_entry import StoreEntry

DOCS = Path(__file__).parents[2] / "docs"
WRONG = (DOCS / "how-to" / "when-something-is-wrong.md").read_text(encoding="utf-8")
KEYS = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")
PLACES = (DOCS / "how-to" / "choose-a-protocol.md").read_text(encoding="utf-8")


def _rows(text: str, header: str) -> dict[str, list[str]]:
    """The rows of the table with this header, by their first cells."""
    lines = text.split(f"{header}\n", 1)[1].splitlines()[1:]
    table = lines[: next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
    return {row[0].strip("`"): row[1:] for row in cells}


def _every_error() -> dict[str, type[errors.StoreError]]:
    found: dict[str, type[errors.StoreError]] = {}
    waiting: list[type[errors.StoreError]] = [errors.StoreError]
    for error in waiting:
        waiting += [each for each in error.__subclasses__() if each.__module__.startswith("exlab_store.")]
        found[error.code] = error
    return found


_ARGUMENTS: dict[str, tuple[Any, ...]] = {"guarantee_not_met": ([],), "schema_major_mismatch": (1, "2.0")}
_KEYWORDS: dict[str, dict[str, Any]] = {
    "write_outcome_unknown": {"intended": None},
    "schema_version_missing": {"expected_major": 1},
}


def test_each_code_has_one_section() -> None:
    import exlab_store.doctor
    import exlab_store.documents  # noqa: F401  # those who define errors of their own

    sections = re.findall(r"^### `(\w+)`$", WRONG, re.MULTILINE)
    assert sorted(sections) == sorted(_every_error())


@pytest.mark.parametrize("code", _every_error())
def test_a_section_begins_with_the_exit_code(code: str) -> None:
    error = _every_error()[code](*_ARGUMENTS.get(code, ("what went wrong",)), **_KEYWORDS.get(code, {}))
    assert f"### `{code}`\n\nExit code {int(exit_code_of(error))}" in WRONG


def test_every_key_of_a_store_is_described() -> None:
    assert list(_rows(KEYS, "| Key | Type | Default | Meaning |")) == list(StoreEntry.__struct_fields__)
    assert list(_rows(KEYS, "| Key | Type | Meaning |")) == list(SecretSource.__struct_fields__)


def test_every_requirement_is_described_with_its_values() -> None:
    choices = {
        "conditional_write": ConditionalWrite,
        "lock_scope": LockScope,
        "lock_release": LockRelease,
        "fresh": Fresh,
        "watch": Watch,
    }
    expected = {
        name: [", ".join(f'`"{value}"`' for value in get_args(choices[name]))]
        if name in choices
        else ["`false`, `true`"]
        for name in Guarantees.__struct_fields__
    }
    assert _rows(KEYS, "| Key | Values, the strongest last |") == expected


_OF_PLACES = f"| Place | {' | '.join(f'`{name}`' for name in COLUMNS)} | Round trips | at 1 ms | at 10 ms | Needs |"
_SHOWN = {place.replace("`", ""): cells for place, cells in _rows(PLACES, _OF_PLACES).items()}


def test_the_table_of_places_has_every_place_with_what_it_needs() -> None:
    assert {place: cells[-1] for place, cells in _SHOWN.items()} == NEEDS
    assert set(NEEDS) == {*SERVED, *promised_without_server()}


def test_the_table_of_places_says_what_the_backends_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for place, guarantees in promised_without_server().items():
        assert _SHOWN[place][: len(COLUMNS)] == claimed_cells(guarantees), place


@pytest.mark.one_interpreter
@pytest.mark.parametrize("place", SERVED)
def test_the_table_of_places_says_what_a_server_gives(place: str) -> None:
    with SERVED[place](lambda port: port) as store:
        assert _SHOWN[place][: len(COLUMNS)] == claimed_cells(store.guarantees)


@pytest.mark.parametrize("place", SERVED)
def test_the_table_of_places_has_a_figure_for_all_that_a_server_offers(place: str) -> None:
    trips, *at = (cell.split(", ") for cell in _SHOWN[place][len(COLUMNS) : -1])
    locks = _SHOWN[place][COLUMNS.index("lock_scope")] != "none"
    assert [cell != "none" for cell in trips] == [True, True, locks]
    assert all([cell != "none" for cell in cells] == [True, True, locks] for cells in at)


_OPTIONS = _rows(PLACES, "| Mounted with | `lock_scope` | `fresh` | Because |")


@pytest.mark.parametrize("mounted", _OPTIONS)
def test_the_table_of_mount_options_says_what_the_backend_claims(mounted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    kind, _, options = mounted.partition(" ")
    kinds = {"nfs": FileSystem.NFS, "cifs": FileSystem.SMB_MOUNT}
    mount = MountedFileSystem(kinds[kind], dict(option.partition("=")[::2] for option in options.split(",")))
    assert _OPTIONS[mounted][:2] == [claims_of(mount).lock_scope, claims_of(mount).fresh]
