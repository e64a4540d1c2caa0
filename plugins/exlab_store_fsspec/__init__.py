"""Documents on any file system that fsspec reaches: ``fsspec+webdav://``, ``fsspec+http://``, ``fsspec+gcs://``.

`open_backend` is what the entry point ``fsspec+*`` of the group ``exlab_store.backends`` names.
"""

from __future__ import annotations

from exlab_store_fsspec.backend import FsspecBackend, open_backend
from exlab_store_fsspec.options import FsspecOptions, StorageOptions

__all__ = ["FsspecBackend", "FsspecOptions", "StorageOptions", "open_backend"]
