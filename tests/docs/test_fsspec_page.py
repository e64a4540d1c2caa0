"""The page about fsspec says what the code claims, and what the two servers that were tried give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from exlab_store_fsspec.claims import claims_of
from exlab_store_fsspec.protocols import protocol_of
from exlab_store_fsspec.webdav import APACHE, NGINX, DavServer

from exlab_store import Guarantees

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "use-fsspec.md").read_text(encoding="utf-8")
_COLUMNS = {
    "`fsspec+memory:`": ("memory", None),
    "WebDAV on nginx": ("webdav", DavServer(NGINX, (1, 22))),
    "WebDAV on Apache": ("webdav", DavServer(APACHE, (2, 4))),
    "WebDAV elsewhere": ("webdav", DavServer("")),
    "any other protocol": ("ftp", None),
}


def _table(header: str) -> list[list[str]]:
    lines = PAGE.split(header, 1)[1].splitlines()[2:]
    rows = lines[: next(number for number, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


@pytest.mark.parametrize("column", _COLUMNS)
def test_the_table_of_promises_is_the_code_s(column: str) -> None:
    header = next(line for line in PAGE.splitlines() if line.startswith("| | `fsspec+memory:`"))
    number = [cell.strip() for cell in header.strip("|").split(" | ")].index(column)
    protocol, server = _COLUMNS[column]
    claimed, _ = claims_of(protocol_of(protocol), server)
    words = {True: "yes", False: "no"}
    for row in _table(header):
        value = getattr(claimed, row[0].strip("`"))
        assert row[number].startswith(words.get(value, str(value))), row[0]
    assert [row[0].strip("`") for row in _table(header)] == [
        name for name in Guarantees.__struct_fields__ if name not in {"lock_release", "watch"}
    ]


def test_the_table_of_locations_is_the_code_s() -> None:
    for row in _table("| Location | Reads | Writes | Lists | Needs |"):
        for name in re.findall(r"fsspec\+(\w+):", row[0]):
            ways = protocol_of(name).ways
            assert (row[2], row[3].startswith("yes")) == ("yes" if ways.writes else "no", ways.lists), name
            assert protocol_of(name).package in row[4] or name == "webdav", name
