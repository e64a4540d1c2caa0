"""A process that looks like one on macOS: tests/plugins/as_macos.py stands in for its system calls, on Linux."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

__all__ = ["result_on_macos"]

_STAND_INS: Final = Path(__file__).resolve().parent / "plugins"


def result_on_macos(folder: Path, program: str, **environment: str) -> Any:
    """What a program gives as ``result``.

    Args:
        folder: What the program knows as ``folder``.
        program: May use ``json`` and ``as_macos``; prints nothing.
        environment: See `as_macos`.
    """
    text = f"import json, sys, as_macos\nfolder = sys.argv[1]\n{program}\nprint(json.dumps(result))\n"
    done = subprocess.run(
        [sys.executable, "-c", text, str(folder)],
        env=os.environ | {"PYTHONPATH": str(_STAND_INS)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)
