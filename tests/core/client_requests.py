"""What the tests of client processes ask for beside the store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from waiting import eventually

from exlab_store.clients.requests import StoreRequests

__all__ = ["SleepyRequests"]


class SleepyRequests(StoreRequests):
    """Each public method is a request."""

    def sleep(self, seconds: float) -> None:
        """Hangs, as a storage may."""
        time.sleep(seconds)

    def wait_for(self, path: str) -> None:
        """Answers when there is a file."""
        eventually(Path(path).exists)

    def work_until_over(self, note: str) -> None:
        """Works until whoever asks has gone, and leaves a note."""
        self.over.wait(60)
        Path(note).touch()

    def fail(self, secret: str) -> None:
        """Raises what no store raises."""
        raise RuntimeError(secret)

    def chatter(self) -> int:
        """Prints, as a library may, and has a program print."""
        print("chatter")
        return subprocess.run([sys.executable, "-c", "print('more')"], check=True).returncode

    def number(self) -> int:
        """What this process takes for its number."""
        return os.getpid()
