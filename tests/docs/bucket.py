"""The object store that the pages call ``s3://lab``: a real one, of which the environment tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seaweed_server import BUCKET, KEY, KEY_ID

if TYPE_CHECKING:
    import pytest
    from seaweed_server import SeaweedServer


def needed_by(text: str) -> bool:
    """Whether a block of a page talks to the server."""
    return f"s3://{BUCKET}" in text


def sign_in(server: SeaweedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives an account to this process, and to those it starts, as the page says: in the environment."""
    server.empty()
    account = {"AWS_ENDPOINT_URL": server.endpoint, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": KEY}
    for name, value in account.items():
        monkeypatch.setenv(name, value)
