"""The guarantees of a file system of fsspec: what was shown in this repository, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from exlab_store import Guarantees
from exlab_store_fsspec.webdav import APACHE, NGINX

if TYPE_CHECKING:
    from exlab_store_fsspec.protocols import FsspecProtocol
    from exlab_store_fsspec.webdav import DavServer

__all__ = ["ATOMIC", "ShownAtomic", "claims_of"]


class ShownAtomic(msgspec.Struct, frozen=True):
    """A protocol, or a server of it, on which readers were shown to see whole documents under a writer.

    Attributes:
        protocol: As fsspec names it.
        test: The test that shows it.
        server: The server's name, as `exlab_store_fsspec.webdav.identified` gives it; empty where there is none.
        since: The oldest version of the server that counts.
    """

    protocol: str
    test: str
    server: str = ""
    since: tuple[int, ...] = ()


_TEST: Final = "tests/plugins/test_fsspec_atomic.py::test_readers_under_a_writer_see_whole_documents"

ATOMIC: Final = (
    ShownAtomic("memory", f"{_TEST}[memory]"),
    ShownAtomic("webdav", f"{_TEST}[nginx]", NGINX, (1, 22)),
)
"""Where ``atomic_replace`` is claimed."""

_LOCKS: Final = "smb:, postgresql:, s3:, sftp: with a shell, and file: have locks"


def claims_of(protocol: FsspecProtocol, server: DavServer | None) -> tuple[Guarantees, dict[str, str]]:
    """The guarantees, and for each that is missing the reason, with what would give it.

    Args:
        protocol: What is spoken.
        server: Who answers, where that could be asked.
    """
    not_atomic, not_listed = _not_atomic(protocol, server), _not_listed(protocol, server)
    claimed = Guarantees(atomic_replace=not_atomic is None, lists=not_listed is None, deletes=protocol.ways.writes)
    return claimed, _reasons(protocol, not_atomic, not_listed)


def _not_atomic(protocol: FsspecProtocol, server: DavServer | None) -> str | None:
    """Why a reader may see half a document, or None."""
    rows = [row for row in ATOMIC if row.protocol == protocol.name]
    if not rows:
        return f"nobody has shown that {protocol.name} replaces a document in one step"
    if server is None:
        return None
    row = next((row for row in rows if row.server == server.name), None)
    tried = " and ".join(f"{row.server} since {_shown(row.since)}" for row in rows)
    if server.name == APACHE:
        # It asks for the file's size by its name, and then opens it: 15 of 1,000 reads under a writer were cut.
        return (
            "Apache replaces a document in one step, but gives a reader that comes meanwhile no more of it than the"
            f" document before had: it was shown on {tried}"
        )
    if row is None:
        return f"a PUT may not be atomic on this server: it was shown on {tried}"
    if not server.version:
        return f"a PUT was shown to be atomic on {tried}, and this server hides its version: set `server_tokens on`"
    if server.version < row.since:
        return f"a PUT was shown to be atomic on {tried}, and this one is {_shown(server.version)}"
    return None


def _not_listed(protocol: FsspecProtocol, server: DavServer | None) -> str | None:
    """Why a list may lack documents, or None."""
    if not protocol.ways.lists:
        return f"there is no list of what is in a folder over {protocol.name}"
    if server is not None and server.name == NGINX:
        return "names that begin with a dot are left out of nginx's lists (PROPFIND)"
    return None


def _reasons(protocol: FsspecProtocol, not_atomic: str | None, not_listed: str | None) -> dict[str, str]:
    better = f"; {protocol.instead} serves the same storage, and gives more" if protocol.instead else ""
    found = {
        "durable": "nothing in fsspec tells when a document is on the disk",
        "conditional_write": "there is no write on a condition in fsspec that holds against other clients",
        "lock_scope": "there are no locks in fsspec",
        "fenced": "there are no locks in fsspec, and so none that a write could be held to",
        "fresh": "a cache or a proxy on the way may answer with an older document",
    }
    reasons = {name: f"{reason}{better}" for name, reason in found.items()}
    if not protocol.instead:
        for name in ("conditional_write", "lock_scope", "fenced"):
            reasons[name] += f"; {_LOCKS}"
    if not_atomic is not None:
        reasons["atomic_replace"] = not_atomic + better
    if not_listed is not None:
        reasons["lists"] = reasons["watch"] = not_listed
    if not protocol.ways.writes:
        reasons["deletes"] = f"it is for reading only ({protocol.name})"
    return reasons


def _shown(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
