"""Documents as files on an SSH server: SFTP for the files, and a shell there for locks and durability.

`open_backend` is what the entry point ``sftp`` of the group ``exlab_store.backends`` names.
"""

from __future__ import annotations

from exlab_store_sftp.backend import SftpBackend, open_backend
from exlab_store_sftp.options import SftpOptions

__all__ = ["SftpBackend", "SftpOptions", "open_backend"]
