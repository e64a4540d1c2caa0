"""Another machine: a process with a host name of its own, that joins an examination of this one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from conftest import lacking

from exlab_store.doctor import examine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store.doctor import Examination

COMMAND = [sys.executable, "-m", "exlab_store.cli", "doctor"]
OTHER = "beta"


def on_another_machine(command: Sequence[str], name: str = OTHER) -> list[str]:
    """A command that runs on a machine of another name, if this account may pretend that."""
    pretend = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*pretend, "true"], capture_output=True, check=False).returncode
    ):
        lacking("run the tests as root (sudo) to give a process another host name")
    return [*pretend, *command]


class Joining:
    """The command of the other machine, that is run as soon as there is a code."""

    def __init__(self, location: str | Path, *options: str, name: str | None = OTHER) -> None:
        self._location = str(location)
        self._options = options
        self._name = name
        self.code = ""
        self.process: subprocess.Popen[str] | None = None
        self.running = threading.Event()

    def __call__(self, code: str) -> None:
        self.code = code
        command = [*COMMAND, self._location, "--join", code, *self._options]
        self.process = subprocess.Popen(
            command if self._name is None else on_another_machine(command, self._name),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self.running.set()

    def ended(self) -> tuple[int, str, str]:
        """Its exit code, and what it said on standard output and error."""
        assert self.process is not None
        said, complained = self.process.communicate(timeout=120)
        return self.process.returncode, said, complained


def examined_together(
    location: str | Path, other: str | Path | None = None, *, only: set[str], name: str | None = OTHER
) -> Examination:
    """An examination in which another machine took part to its end."""
    joining = Joining(location if other is None else other, "--json", name=name)
    examination = examine([str(location)], seconds=0.05, only=only, invited=joining)
    code, said, complained = joining.ended()
    assert (code, complained) == (0, "")
    assert json.loads(said)["requests"] > 0
    return examination
