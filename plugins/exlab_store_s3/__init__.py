"""Documents as objects of an S3 bucket, over obstore: Amazon's S3, and servers that speak its protocol.

`open_backend` is what the entry point ``s3`` of the group ``exlab_store.backends`` names.
"""

from __future__ import annotations

from exlab_store_s3.backend import S3Backend, open_backend
from exlab_store_s3.options import S3Options

__all__ = ["S3Backend", "S3Options", "open_backend"]
