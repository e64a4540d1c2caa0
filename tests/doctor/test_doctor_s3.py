"""The doctor at a bucket: all is well on a server that keeps conditions, and another one is told what it ignores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from examined import BRIEF, finding, outcomes, seen
from s3_stand_in import running_stand_in

from exlab_store.doctor import examine

if TYPE_CHECKING:
    from seaweed_server import SeaweedServer

pytestmark = pytest.mark.one_interpreter


def _sign_in(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", options["endpoint"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["secret_access_key"])


def test_a_server_that_keeps_conditions_passes_every_probe_and_nothing_stays_there(
    seaweed: SeaweedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sign_in(monkeypatch, seaweed.options)
    folder = seaweed.folder()
    examination = examine([folder], seconds=BRIEF)
    assert set(outcomes(examination).values()) == {"pass", "not applicable"}, examination.findings
    claims = seen(examination)
    assert {claims[name] for name in ("conditional_write", "lock_scope", "fresh", "lists", "deletes")} == {"held"}
    assert "one object at a time" in finding(examination, "fence").observed
    assert "the option durable" in finding(examination, "flush").observed
    left = [meta["path"] for batch in seaweed.objects().list(folder.removeprefix("s3://lab/")) for meta in batch]
    assert left == []


def test_a_server_that_ignores_a_condition_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_stand_in("ignores If-Match") as server:
        _sign_in(monkeypatch, server.options)
        examination = examine([server.url], seconds=BRIEF, only={"reach", "lock", "swap"})
    assert outcomes(examination) == {"reach": "pass", "lock": "warn", "swap": "not applicable"}
    for probe in ("lock", "swap"):
        assert "the server does not keep If-Match of a PUT" in finding(examination, probe).observed
