"""The tests of this folder run inside the guest, and each is an ordinary test outside.

Outside, the first of them boots a guest that runs pytest on all of them; each then waits for its own reports, which
the guest appends to a file. So a failure shows the lines, the values and the output that it has inside. If the guest
ends early, or is silent for too long, the test that was running fails, and another guest runs those that are left.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from mounts.guest_kernel import HERE, Guest

if TYPE_CHECKING:
    from collections.abc import Iterator

INSIDE: Final = os.environ.get("EXLAB_STORE_INSIDE_GUEST") == "1"
"""Whether this process runs in the guest."""

_EXCHANGE: Final = Path("/run/exchange")
_BOOT: Final = 120.0  # seconds; five on an idle machine
_SILENCE: Final = 300.0  # seconds that one test may take, or that the guest's pytest takes to start
_SLOW: Final = 3600.0  # likewise, for a test that is marked as slow

_JOB: Final = """\
cd {root}
export EXLAB_STORE_INSIDE_GUEST=1 PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1
exec {python} -m pytest -p no:cacheprovider -o faulthandler_timeout={silence} -m '' {files}
"""


class GuestTests:
    """The guests that run the chosen tests, one after the other.

    Args:
        chosen: The tests, in the order in which pytest asks for them.
    """

    def __init__(self, chosen: Sequence[pytest.Item]) -> None:
        self._left = [item.nodeid for item in chosen]
        self._guest: Guest | None = None
        self._read = 0  # bytes of the reports that were taken

    def reports(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """What the guest reports about one test, as it comes.

        Raises:
            pytest.fail.Exception: The guest ended before the test did, or is silent.
        """
        if self._guest is None:
            self._guest, self._read = _boot(self._left), 0
        self._left.remove(item.nodeid)
        silence = _SLOW if item.get_closest_marker("slow") else _SILENCE
        over = time.monotonic() + _BOOT + silence
        ended = False
        while not ended:
            runs = self._guest.runs  # asked before its reports are read: what it said last is not missed
            for report in self._new_reports(item.config):
                over = time.monotonic() + silence
                yield report
                ended = ended or report.when == "teardown"
            if not ended and not runs:
                pytest.fail(f"the guest ended before this test did; it said:\n{self._last_words()}", pytrace=False)
            if not ended and time.monotonic() > over:
                pytest.fail(f"the guest was silent for {silence:.0f} s; it said:\n{self._last_words()}", pytrace=False)
            time.sleep(0.02)
        if not self._left:
            self.close()

    def _new_reports(self, config: pytest.Config) -> Iterator[pytest.TestReport]:
        assert self._guest is not None
        path = self._guest.folder / "reports"
        if not path.exists():
            return
        with path.open("rb") as reports:
            reports.seek(self._read)
            for line in reports:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                report = config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
                assert isinstance(report, pytest.TestReport)
                if isinstance(report.longrepr, list):  # a skip's tuple; JSON has none
                    report.longrepr = tuple(report.longrepr)
                yield report
                if report.when == "teardown":
                    return  # what follows is about the next test

    def _last_words(self) -> str:
        assert self._guest is not None
        said = self._guest.console[-8000:]
        self.close()
        return said

    def close(self) -> None:
        """Ends the guest, if one runs."""
        guest, self._guest = self._guest, None
        if guest is not None:
            guest.close()


def _boot(left: Sequence[str]) -> Guest:
    files = shlex.join(dict.fromkeys(nodeid.partition("::")[0] for nodeid in left))
    job = _JOB.format(root=HERE.parents[1], python=sys.executable, silence=int(_SILENCE - 10), files=files)
    return Guest(job, tests=json.dumps(left))


def choose(items: list[pytest.Item]) -> list[pytest.Item]:
    """Inside: keeps of what was collected what was chosen outside, in that order.

    Returns:
        The tests that stay out.
    """
    order = {nodeid: number for number, nodeid in enumerate(json.loads((_EXCHANGE / "tests").read_text()))}
    others = [item for item in items if item.nodeid not in order]
    items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])
    return others


def send(report: pytest.TestReport, config: pytest.Config) -> None:
    """Inside: appends a report to those that the host reads."""
    data = config.hook.pytest_report_to_serializable(config=config, report=report)
    # Closed each time: that is when the guest's kernel hands what was written to the host's file system.
    with (_EXCHANGE / "reports").open("a") as reports:
        reports.write(json.dumps(data) + "\n")
