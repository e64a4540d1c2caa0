"""The part of a conformance harness that is the same for all backends whose documents are files: it looks at them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from exlab_store import lock_key
from exlab_store.testing import Harness

if TYPE_CHECKING:
    from pathlib import Path


class FilesHarness(Harness):
    """Looks at the files below ``root``, past the backend."""

    root: Path

    def raw_read(self, key: str) -> bytes | None:
        try:
            return (self.root / key).read_bytes()
        except FileNotFoundError:
            return None

    def raw_write(self, key: str, data: bytes) -> None:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(data)

    def raw_list(self) -> list[str]:
        return [
            os.path.relpath(os.path.join(folder, name), self.root).replace(os.sep, "/")
            for folder, _, names in os.walk(self.root)
            for name in names
        ]

    def break_lock(self, key: str) -> None:
        if sys.platform == "win32":
            raise NotImplementedError("nobody can delete a file there that is open as a lock file is")
        (self.root / lock_key(key)).unlink()
