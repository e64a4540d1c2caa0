"""The SSH server that the pages call ``nas01``: a real one, with the settings that the page shows."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ssh_server import HOST, SshServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "keep-documents-on-an-sftp-server.md"
_LOCATION = "sftp://nas01/srv/lab"


def needed_by(text: str) -> bool:
    """Whether a block of a page talks to the server."""
    return _LOCATION in text


def shown_settings() -> dict[str, str]:
    """The lines of the sshd_config that the page shows."""
    block = re.search(
        r"^:caption: sshd_config\n\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert block is not None
    return dict(line.split(" ", 1) for line in block[1].splitlines())


class SshSite:
    """The server, under the name that the pages give it."""

    def __init__(self, server: SshServer) -> None:
        self.server = server

    def real(self, text: str) -> str:
        return text.replace(_LOCATION, f"sftp://nas01{self.server.root}")

    def shown(self, text: str) -> str:
        return text.replace(f"sftp://nas01{self.server.root}", _LOCATION)

    def sign_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Gives the account to this process, and to those it starts, as the page says: in ~/.ssh/config."""
        home = self.server.directory / "home"
        (home / ".ssh").mkdir(parents=True, exist_ok=True)
        (home / ".ssh" / "config").write_text(
            f"Host nas01\n    HostName {HOST}\n    Port {self.server.port}\n    User {self.server.user}\n"
            f"    IdentityFile {self.server.directory / 'user'}\n"
            f"    UserKnownHostsFile {self.server.directory / 'known_hosts'}\n"
        )
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@contextmanager
def running() -> Iterator[SshSite]:
    """Starts it."""
    with tempfile.TemporaryDirectory(prefix="exlab-store-docs-") as directory:
        Path(directory).chmod(0o755)
        with SshServer(Path(directory), shown_settings()) as server:
            yield SshSite(server)
