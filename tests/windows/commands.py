"""Runs inside Python for Windows: the command once for each list of words, as a shell would, and what came of it.

Standard input has a JSON list of ``{"words": [...], "encoding": ..., "input": ...}``; standard output gets a list of
``{"code": ..., "out": ..., "err": ...}``, with the bytes in hexadecimal digits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def _ran(call: dict[str, Any]) -> dict[str, Any]:
    environment = {**os.environ, **call.get("environment", {})}
    environment.pop("PYTHONUTF8", None)
    if "encoding" in call:
        environment["PYTHONIOENCODING"] = call["encoding"]
    done = subprocess.run(
        [sys.executable, "-m", "exlab_store.cli", *call["words"]],
        input=call.get("input", "").encode(),
        capture_output=True,
        env=environment,
        cwd=call.get("cwd"),
        timeout=300,
        check=False,
    )
    return {"code": done.returncode, "out": done.stdout.hex(), "err": done.stderr.hex()}


if __name__ == "__main__":
    json.dump([_ran(call) for call in json.load(sys.stdin)], sys.stdout)
