"""Documents in an SQLite database, through the standard library.

``sqlite:///data/lab.db`` is the database, ``sqlite:///data/lab.db/folder`` a folder of documents in it.
"""

from __future__ import annotations

from exlab_store_sqlite.backend import SqliteBackend, open_backend

__all__ = ["SqliteBackend", "open_backend"]
