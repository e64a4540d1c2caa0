"""The file server that the pages call ``nas01``: a real one, with the settings that the pages show."""

from __future__ import annotations

import configparser
import grp
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec.config
from samba_server import SambaServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "run-a-site-on-smb.md"
GROUP = "labwriters"  # of the page; here it is a group that exists
ACCOUNT = "exlab"
FOLDER = "exlab"

_SHOWN = re.compile(r"\b(smb://(?:[^@/\s]+@)?)nas01\b")


def needed_by(text: str) -> bool:
    """Whether a block of a page talks to the server."""
    return _SHOWN.search(text) is not None


def shown_settings() -> dict[str, dict[str, str]]:
    """The sections of the smb.conf that the page shows."""
    block = re.search(r"^:caption: smb\.conf\n\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(re.sub(r"^ +", "", block[1], flags=re.MULTILINE))
    return {name: dict(parser[name]) for name in parser.sections()}


class Nas:
    """The server, and the two names of its address: the pages' and its own."""

    def __init__(self, server: SambaServer) -> None:
        self.server = server

    def real(self, text: str) -> str:
        return _SHOWN.sub(rf"\g<1>127.0.0.1:{self.server.port}", text)

    def shown(self, text: str) -> str:
        return text.replace(f"127.0.0.1:{self.server.port}", "nas01")

    def sign_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Gives the account to this process, and to those it starts, as the page says: in the environment."""
        account = {"username": self.server.user, "password": self.server.password}
        for name, value in account.items():
            monkeypatch.setenv(f"FSSPEC_SMB_{name.upper()}", value)
        monkeypatch.setenv("NAS_PASSWORD", self.server.password)  # for a site's configuration
        monkeypatch.setitem(fsspec.config.conf, "smb", account)  # fsspec has read the environment when it was imported


@contextmanager
def running() -> Iterator[Nas]:
    """Starts the server with the settings of the page, and an empty folder for the store."""
    settings = shown_settings()
    share = {name: value for name, value in settings["lab"].items() if name != "path"}
    group = grp.getgrgid(os.getegid()).gr_name
    share = {name: value.replace(GROUP, group) for name, value in share.items()}
    with tempfile.TemporaryDirectory(prefix="exlab-store-docs-") as directory:
        Path(directory).chmod(0o755)
        server = SambaServer(Path(directory, "server"), global_settings=settings["global"], share_settings=share)
        server.user = ACCOUNT
        with server:
            (server.root / FOLDER).mkdir(mode=0o770)
            yield Nas(server)
