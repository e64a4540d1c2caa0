"""The page about SFTP says what a real server gives."""

from __future__ import annotations

import re

import pytest
import ssh_site
from conftest import lacking
from ssh_server import find_sshd

from exlab_store import Guarantees, open_store

pytestmark = pytest.mark.one_interpreter

PAGE = ssh_site.PAGE.read_text(encoding="utf-8")


def _shown(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def test_the_table_says_what_is_claimed_with_a_shell_and_without() -> None:
    if find_sshd() is None:
        lacking("install Debian's package openssh-server: its sshd is the server of the SFTP tests")
    found = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    rows = [row for row in found if row[0] in Guarantees.__struct_fields__]
    with ssh_site.running() as site:
        server = site.server
        with (
            open_store(server.url(), **server.options) as with_shell,
            open_store(server.url(port=server.bare_port), **server.options) as alone,
        ):
            claimed, without = with_shell.guarantees, alone.guarantees
    assert [name for name, _, _ in rows] == list(claimed.__struct_fields__)
    # Behind a comma stands what it depends on.
    assert {name: value.split(",")[0].strip() for name, value, _ in rows} == {
        name: _shown(getattr(claimed, name)) for name in claimed.__struct_fields__
    }
    assert {name: value.strip() for name, _, value in rows} == {
        name: _shown(getattr(without, name)) for name in without.__struct_fields__
    }
