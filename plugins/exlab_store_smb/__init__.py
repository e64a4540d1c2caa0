"""Documents on SMB 2 and 3 shares, over smbprotocol, opened like fsspec's ``smb:`` filesystem.

`open_backend` is what the entry points ``smb`` and ``cifs`` of the group ``exlab_store.backends`` name.
"""

from __future__ import annotations

from exlab_store_smb.backend import SmbBackend, open_backend
from exlab_store_smb.session.options import SmbOptions

__all__ = ["SmbBackend", "SmbOptions", "open_backend"]
