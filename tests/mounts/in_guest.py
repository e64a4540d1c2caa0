"""Boots the guest and runs a Python program in it: ``.test-venv/bin/python tests/mounts/in_guest.py PROGRAM ...``.

The program runs on the server as root, and has what the tests have: ``from mounts.machines import A, B, C, new_site``.
With ``--kind nfs-4.2`` (or another of `machines.KINDS`, and more than once) clients a and b have mounted the export
before it starts, at /mnt/a/nfs-4.2 and /mnt/b/nfs-4.2; the server has it at /mnt/export. What the program prints comes
as it is printed. Only /run, /mnt, /dev/shm and $TMPDIR can be written, and are gone with the guest, but for
/run/exchange: with ``--keep FOLDER``, what it has left there is copied to a folder of the host.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

_JOB: Final = """\
cd {root}/tests
export EXLAB_STORE_INSIDE_GUEST=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH={root}/tests
{python} -c 'import sys; from mounts.machines import A, B
for kind in sys.argv[1:]: print(A.mount(kind), B.mount(kind))' {kinds} || exit 1
cd {cwd}
exec {python} {program}
"""


def main() -> int:
    """Reads the command line, and shows what the guest says until it ends."""
    from mounts.guest_kernel import Guest, what_is_lacking
    from mounts.machines import KINDS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", default=[], choices=KINDS)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--timeout", type=float, default=600, help="in seconds; then the guest is killed")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="a file and its arguments, as after `python`")
    arguments = parser.parse_args()
    if lack := what_is_lacking():
        parser.error(lack)
    job = _JOB.format(
        root=ROOT,
        python=sys.executable,
        kinds=shlex.join(arguments.kind),
        cwd=shlex.quote(str(Path.cwd())),
        program=shlex.join(arguments.program),
    )
    with Guest(job) as guest:
        over = time.monotonic() + arguments.timeout
        shown, runs = 0, True
        while runs and time.monotonic() < over:
            runs = guest.runs
            said = guest.said
            sys.stdout.write(said[shown:])
            sys.stdout.flush()
            shown = len(said)
            time.sleep(0.05)
        status = guest.wait(0)
        if arguments.keep is not None:
            shutil.copytree(guest.folder, arguments.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("uml"))
    return 124 if status is None else status


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    sys.exit(main())
