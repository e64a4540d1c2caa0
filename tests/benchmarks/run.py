"""What the layers cost over the bare system calls: ``python tests/benchmarks/run.py [--strict] [DIRECTORY]``.

Half a minute of what ``peers.py`` does, measured and judged by the same code: the limits that need no peer, no server
and no event loop. With ``--strict`` a limit that is missed is an error; without, it is only shown, as a busy machine
proves nothing. The limits that are not judged here are named at the end; ``peers.py --strict`` judges all of them.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile

from judging import judged
from page import judgements
from peers import measured

_SECTIONS = ["pairs", "contended", "memory", "imports"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "directory", nargs="?", type=os.path.abspath, help="where to measure; a temporary directory by default"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if a limit is missed")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each contender is measured (default: 0.5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="exlab-store-bench-", dir=arguments.directory) as directory:
        results = measured(directory, arguments.seconds, _SECTIONS, peers=False)
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    print(f"{system}, load {os.getloadavg()[0]:.1f},")
    print(f"medians of samples in turns, {results.took:.0f} s in all.\n")
    verdicts = judged(results)
    print(judgements(verdicts, short=results.short))
    print("".join(f"\n{line}" for line in results.missing))
    print("\n`peers.py --strict` in the same folder measures and judges all of them.")
    measured_here = [verdict for verdict in verdicts if verdict.found]
    return int(arguments.strict and not all(verdict.kept for verdict in measured_here))


if __name__ == "__main__":
    sys.exit(main())
