"""What a store in S3 costs beside obstore alone: ``python tests/benchmarks/s3.py [--strict]``.

It starts SeaweedFS, and has the two take turns, for a put and for a get of 2 KiB; an update is shown beside. With
``--strict`` a ratio over its limit is an error; without, it is only shown, as a busy machine proves nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from seaweed_server import BUCKET, running_seaweed

from exlab_store import open_store
from exlab_store.benching.taking_turns import timed

if TYPE_CHECKING:
    from collections.abc import Callable

OURS, THEIRS = "exlab_store", "obstore"
SIZE = 2048
LIMITS = {"put": 1.10, "get": 1.05}


def main() -> int:
    """Measures, prints, and judges where that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail where a limit is exceeded")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each pair")
    chosen = parser.parse_args()
    exceeded = False
    with running_seaweed() as server:
        client = server.objects()
        with open_store(f"s3://{BUCKET}", **server.options) as store:
            pairs: dict[str, dict[str, Callable[[bytes], object]]] = {
                "put": {
                    OURS: lambda data: store.atomic_write("ours", data),
                    THEIRS: lambda data: client.put("theirs", data, use_multipart=False),
                },
                "get": {
                    OURS: lambda _: store.read_snapshot("same").data,
                    THEIRS: lambda _: bytes(client.get("same").bytes()),
                },
            }
            store.atomic_write("same", os.urandom(SIZE))
            for name, calls in pairs.items():
                timings = timed(calls, SIZE, chosen.seconds)
                ours, theirs = (timings[who].median for who in (OURS, THEIRS))
                ratio = ours / theirs
                exceeded |= ratio > LIMITS[name]
                print(
                    f"{name}: {OURS} {1e3 * ours:.3f} ms, {THEIRS} {1e3 * theirs:.3f} ms, "
                    f"{ratio:.3f} x, at most {LIMITS[name]:g} x"
                )
            update = timed({OURS: lambda data: store.update("updated", lambda _: data)}, SIZE, chosen.seconds / 2)[OURS]
            print(f"update: {1e3 * update.median:.3f} ms")
    return 1 if exceeded and chosen.strict else 0


if __name__ == "__main__":
    sys.exit(main())
