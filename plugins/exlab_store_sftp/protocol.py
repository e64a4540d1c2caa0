"""Numbers of the SFTP protocol, version 3 (draft-ietf-secsh-filexfer-02), as asyncssh takes and gives them."""

from __future__ import annotations

from typing import Final

__all__ = ["FOLDER", "LINK", "NEW", "READ", "REGULAR"]

READ: Final = 0x1
"""SSH_FXF_READ."""
NEW: Final = 0x2 | 0x8 | 0x20
"""SSH_FXF_WRITE, SSH_FXF_CREAT and SSH_FXF_EXCL: whatever stands at the name is refused."""

REGULAR: Final = 1
"""A regular file; asyncssh finds the type in the permissions."""
FOLDER: Final = 2
LINK: Final = 3
