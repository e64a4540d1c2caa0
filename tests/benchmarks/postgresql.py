"""What a store in PostgreSQL costs beside psycopg alone: ``python tests/benchmarks/postgresql.py [--strict]``.

It starts PostgreSQL, and has the two take turns, for a write and for a read of 2 KiB. With ``--strict`` a ratio over
its limit is an error; without, it is only shown, as a busy machine proves nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psycopg
from beside import SIZE, all_kept
from postgresql_server import running_postgresql

from exlab_store import open_store

LIMITS = {"write": 1.15, "read": 1.3}


def main() -> int:
    """Measures, prints, and judges where that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail where a limit is exceeded")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each pair")
    chosen = parser.parse_args()
    with running_postgresql() as server:
        options = server.options()
        bare = f"host=127.0.0.1 port={server.port} user=lab dbname=lab"
        with (
            open_store(server.url(), create=True, **options) as store,
            psycopg.connect(bare, password=server.password, autocommit=True) as connection,
        ):
            for key in ("ours", "theirs", "same"):
                store.atomic_write(key, os.urandom(SIZE))
            writing = (
                f"update {options['table']} set data = %b, mark = %b, modified = clock_timestamp(), "
                "xact = pg_current_xact_id() where key = %s returning xact"
            )
            reading = f"select data from {options['table']} where key = %s"
            pairs = {
                "write": (
                    lambda data: store.atomic_write("ours", data),
                    lambda data: connection.execute(writing, (data, os.urandom(16), "theirs")).fetchone(),
                ),
                "read": (
                    lambda _: store.read_snapshot("same").data,
                    lambda _: connection.execute(reading, ("same",), binary=True).fetchone(),
                ),
            }
            kept = all_kept(pairs, LIMITS, "psycopg", chosen.seconds)
    return int(chosen.strict and not kept)


if __name__ == "__main__":
    sys.exit(main())
