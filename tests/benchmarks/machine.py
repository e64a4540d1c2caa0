"""Where the figures are from: nothing that names the machine, or a place on it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path

from results import Machine

__all__ = ["machine_of"]

_PACKAGES = (
    "exlab-store anyio filelock msgspec atomicwrites diskcache fasteners fsspec obstore opendal portalocker "
    "smbprotocol trio universal-pathlib zarr"
).split()


def machine_of(directory: str) -> Machine:
    """What the figures depend on.

    Args:
        directory: Where they are measured.
    """
    versions: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    model = ""
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    kind = subprocess.run(["stat", "-f", "-c", "%T", directory], capture_output=True, text=True).stdout.strip()
    return Machine(
        processors=len(os.sched_getaffinity(0)),
        processor=model,
        kernel=f"{platform.system()} {platform.release().partition('-')[0]}",
        file_system={"ext2/ext3": "ext4"}.get(kind, kind),
        python=platform.python_version(),
        versions=versions,
        load=[],
        date=time.strftime("%Y-%m-%d", time.gmtime()),
    )
