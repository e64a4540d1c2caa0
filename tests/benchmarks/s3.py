"""What a store in S3 costs beside obstore alone: ``python tests/benchmarks/s3.py [--strict]``.

It starts SeaweedFS, and has the two take turns, for a put and for a get of 2 KiB; an update is shown beside. With
``--strict`` a ratio over its limit is an error; without, it is only shown, as a busy machine proves nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from beside import OURS, SIZE, all_kept
from seaweed_server import BUCKET, running_seaweed

from exlab_store import open_store
from exlab_store.benching.taking_turns import timed

LIMITS = {"put": 1.10, "get": 1.05}


def main() -> int:
    """Measures, prints, and judges where that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail where a limit is exceeded")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each pair")
    chosen = parser.parse_args()
    with running_seaweed() as server:
        client = server.objects()
        with open_store(f"s3://{BUCKET}", **server.options) as store:
            store.atomic_write("same", os.urandom(SIZE))
            pairs = {
                "put": (
                    lambda data: store.atomic_write("ours", data),
                    lambda data: client.put("theirs", data, use_multipart=False),
                ),
                "get": (
                    lambda _: store.read_snapshot("same").data,
                    lambda _: bytes(client.get("same").bytes()),
                ),
            }
            kept = all_kept(pairs, LIMITS, "obstore", chosen.seconds)
            update = timed({OURS: lambda data: store.update("updated", lambda _: data)}, SIZE, chosen.seconds / 2)[OURS]
            print(f"update: {1e3 * update.median:.3f} ms")
    return int(chosen.strict and not kept)


if __name__ == "__main__":
    sys.exit(main())
