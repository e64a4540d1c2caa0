"""A keyring for tests: a real backend of the package keyring, which keeps its passwords in one file.

For a process of its own: ``PYTHON_KEYRING_BACKEND=site_keyring.FileKeyring``, with this folder on its path.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

VARIABLE = "SITE_KEYRING"


class FileKeyring(KeyringBackend):
    """The file that the environment variable names, as JSON: ``{"service/user": "password"}``."""

    priority = 0.1  # type: ignore[assignment]  # keyring declares a property

    def get_password(self, service: str, username: str) -> str | None:
        path = Path(os.environ[VARIABLE])
        if not path.exists():
            raise KeyringLocked("the keyring is locked")
        password: str | None = json.loads(path.read_text()).get(f"{service}/{username}")
        return password

    def set_password(self, service: str, username: str, password: str) -> None:
        Path(os.environ[VARIABLE]).write_text(json.dumps({f"{service}/{username}": password}))

    def delete_password(self, service: str, username: str) -> None:
        Path(os.environ[VARIABLE]).unlink()
