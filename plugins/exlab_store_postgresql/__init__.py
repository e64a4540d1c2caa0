"""Documents in a table of a PostgreSQL database, over psycopg 3.

`open_backend` is what the entry points ``postgresql`` and ``postgres`` of the group ``exlab_store.backends`` name.
"""

from __future__ import annotations

from exlab_store_postgresql.backend import PostgresqlBackend, open_backend
from exlab_store_postgresql.options import PostgresqlOptions

__all__ = ["PostgresqlBackend", "PostgresqlOptions", "open_backend"]
