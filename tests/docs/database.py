"""The database server that the pages call ``db01``: a real one."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from postgresql_server import ROLE, PostgresqlServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

_SHOWN = re.compile(r"\b(postgresql://(?:[^@/\s]+@)?)db01\b")


def needed_by(text: str) -> bool:
    """Whether a block of a page talks to the server."""
    return _SHOWN.search(text) is not None


class Database:
    """The server, and the two names of its address: the pages' and its own."""

    def __init__(self, server: PostgresqlServer) -> None:
        self._server = server

    def real(self, text: str) -> str:
        return _SHOWN.sub(rf"\g<1>127.0.0.1:{self._server.port}", text)

    def shown(self, text: str) -> str:
        return text.replace(f"127.0.0.1:{self._server.port}", "db01")

    def sign_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Gives the account to this process, and to those it starts, as the page says: in the environment."""
        monkeypatch.setenv("PGUSER", ROLE)
        monkeypatch.setenv("PGPASSWORD", self._server.password)


@contextmanager
def running() -> Iterator[Database]:
    with PostgresqlServer() as server:
        yield Database(server)
