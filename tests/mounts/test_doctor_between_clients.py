"""The doctor on two clients of one file server: its command on each, with nothing between them but the share."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from mounts.machines import A, B, Site

pytestmark = pytest.mark.one_interpreter

_DOCTOR = ("-m", "exlab_store.cli", "doctor")


def _examined(site: Site, *probes: str) -> dict[str, Any]:
    """What client a reports, that had client b take part."""
    only = [word for probe in probes for word in ("--only", probe)]
    command = A.python(*_DOCTOR, site.a, "--invite", "--json", "--seconds", "0.2", *only)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as inviting:
        assert inviting.stderr is not None
        code = json.loads(inviting.stderr.readline())["invitation"]["code"]
        joined = subprocess.run(
            B.python(*_DOCTOR, site.b, "--join", code), capture_output=True, text=True, timeout=240, check=False
        )
        said, complained = inviting.communicate(timeout=120)
    assert (joined.returncode, joined.stderr, complained) == (0, "", "")
    answer: dict[str, Any] = json.loads(said)
    return answer


@pytest.mark.parametrize(
    "kind",
    ["nfs-4.2", pytest.param("nfs-4.0", marks=pytest.mark.slow), pytest.param("cifs-strict", marks=pytest.mark.slow)],
)
def test_two_clients_show_that_locks_exclude_and_end_between_them(site: Site) -> None:
    answer = _examined(site, "lock", "crash")
    assert answer["machines"] == ["client-a", "client-b"]
    between = {each["probe"]: each["outcome"] for each in answer["findings"] if len(each["places"]) == 2}
    # The clients are two machines in all but their kernel, and are told so.
    assert between == {"machines": "warn", "lock": "pass", "crash": "pass"}, answer["findings"]
    assert list(site.server.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nfs-3-nolock"])
def test_two_clients_show_that_a_mount_keeps_its_locks_to_itself(site: Site) -> None:
    answer = _examined(site, "lock")
    [found] = [each for each in answer["findings"] if each["probe"] == "lock" and len(each["places"]) == 2]
    assert (found["outcome"], found["observed"]) == ("fail", "two clients held one lock at the same time")
    assert list(site.server.iterdir()) == []
