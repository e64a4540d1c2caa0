"""``exlab-store migrate``: its answers, its exit codes, and how it looks."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from command_line import COMMAND, _run_here, environment, refused, run_command

from exlab_store import open_store


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Three documents in ``old``; ``new`` is an empty directory beside it."""
    for name in ("a.json", "b/c.json", "b/d.json"):
        path = tmp_path / "old" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "new").mkdir()
    return tmp_path


def migrated(lab: Path, *options: str, code: int = 0, source: str = "old", target: str = "new") -> dict[str, Any]:
    result = _run_here("migrate", source, target, *options, "--json", cwd=lab)
    assert result.returncode == code, result.stderr
    assert json.loads(result.stderr or "{}").keys() <= {"error"}
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def shown(lab: Path, *options: str, code: int = 0) -> str:
    result = _run_here("migrate", "old", "new", *options, cwd=lab)
    assert (result.returncode, result.stderr) == (code, "")
    assert max(map(len, result.stdout.splitlines())) <= 80
    return " ".join(result.stdout.split())


def documents(folder: Path) -> dict[str, bytes]:
    with open_store(folder) as store:
        return {key: store.read_snapshot(key).data for key in store.list_keys()}


def test_json_says_what_became_of_each_document(lab: Path) -> None:
    answer = migrated(lab)
    assert answer["complete"]
    assert answer["counts"] == {
        "copied": 3, "overwritten": 0, "present": 0, "conflict": 0, "locked": 0, "changed": 0, "failed": 0
    }  # fmt: skip
    assert (answer["source"], answer["target"]) == (f"file://{lab}/old", f"file://{lab}/new")
    assert [document["key"] for document in answer["documents"]] == ["a.json", "b/c.json", "b/d.json"]
    assert answer["documents"][0].keys() == {"key", "outcome", "size", "version"}
    assert documents(lab / "new") == documents(lab / "old")
    assert migrated(lab)["counts"]["present"] == 3


def test_the_summary_says_how_it_went(lab: Path) -> None:
    text = shown(lab)
    assert "Copied 3 There already 0 Bytes written 22 Deleted in the source no" in text
    assert text.endswith("The target has all 3 documents of the source; each was read back.")
    assert "Deleted in the source 3" in shown(lab, "--delete-source")
    assert documents(lab / "old") == {}
    assert len(documents(lab / "new")) == 3


def test_a_dry_run_writes_nothing(lab: Path) -> None:
    assert shown(lab, "--dry-run").endswith("Nothing was written: this was a dry run.")
    assert list((lab / "new").iterdir()) == []


def test_a_conflict_is_4_and_deletes_nothing(lab: Path) -> None:
    (lab / "new" / "a.json").write_bytes(b"theirs")
    text = shown(lab, "--delete-source", code=4)
    assert "Other document there 1" in text
    assert "- a.json: the target has another document there. Compare the two; --overwrite" in text
    assert "The migration is not complete. Nothing was deleted in the source." in text
    assert len(documents(lab / "old")) == 3
    assert migrated(lab, "--overwrite")["counts"]["overwritten"] == 1


def test_a_lock_is_5_and_says_whose_it_is(lab: Path) -> None:
    with open_store(lab / "old") as store, store.lock("a.json", purpose="a long re-sync"):
        result = run_command("migrate", "old", "new", "--lock-timeout", "0.1", cwd=lab)
    assert (result.returncode, result.stdout) == (5, "")
    assert "somebody holds this lock; nothing was copied" in result.stderr
    assert "'a long re-sync'" in result.stderr
    assert list((lab / "new").iterdir()) == []


def test_a_document_that_the_target_refuses_is_1(lab: Path) -> None:
    (lab / "new" / "b").write_bytes(b"a document where the source has a folder")
    answer = migrated(lab, code=1)
    assert answer["counts"]["failed"] == 2
    assert {document["code"] for document in answer["documents"][1:]} == {"invalid_key"}
    assert (lab / "new" / "a.json").read_bytes() == b"a.json"


def test_a_target_that_goes_away_is_6(lab: Path) -> None:
    result = run_command("migrate", "old", "failing://unavailable", "--json", cwd=lab, with_faulty=True)
    assert result.returncode == 6
    assert json.loads(result.stderr)["error"]["code"] == "backend_unavailable"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("old",), "Missing argument"),
        (("old", "new", "--jobs", "0"), "Invalid value for '--jobs'"),
        (("old", "new", "--lock-timeout", "soon"), "Invalid value for '--lock-timeout'"),
        (("old", "old"), "the source and the target are the same place"),
        (("old", "old/b"), "the target is inside the source"),
        (("old/b", "old"), "the source is inside the target"),
        (("old", "elsewhere"), "there is no such directory"),
        (("elsewhere", "new"), "there is no such directory"),
        (("old", "ftp://nas01/lab"), "no installed backend serves 'ftp'"),
        (("old/a.json", "new"), "not a directory"),
        (("", "new"), "the location is empty"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(lab: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(2, "migrate", *arguments, "--delete-source", cwd=lab)
    assert len(documents(lab / "old")) == 3
    assert list((lab / "new").iterdir()) == []


def test_an_empty_source_is_said_to_be_empty(lab: Path) -> None:
    (lab / "empty").mkdir()
    assert _run_here("migrate", "empty", "new", cwd=lab).stdout.endswith("The source has no documents.\n")


def test_a_target_is_made_where_that_is_asked_for(lab: Path) -> None:
    assert migrated(lab, "--create", target="far/away")["complete"]
    assert documents(lab / "far" / "away") == documents(lab / "old")


def _in_terminal(lab: Path, *arguments: str) -> Any:
    pexpect = pytest.importorskip("pexpect", reason="install pexpect to run the command in a terminal")
    return pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "migrate", "old", "new", *arguments],
        cwd=str(lab),
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=60,
        env=environment(),
    )


def _many(lab: Path, number: int) -> None:
    for each in range(number):
        (lab / "old" / f"document-{each}.json").write_bytes(b"{}")


def test_in_a_terminal_a_bar_is_shown_and_all_fits(lab: Path) -> None:
    (lab / "new" / "a.json").write_bytes(b"theirs")
    _many(lab, 300)
    child = _in_terminal(lab)
    child.expect(r"Copying .*/303")
    child.expect("not complete")
    child.read()
    child.close()
    assert child.exitstatus == 4
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.before)
    assert max(map(len, re.split(r"[\r\n]+", said))) <= 80


def test_ctrl_c_leaves_whole_documents_and_says_how_to_go_on(lab: Path) -> None:
    _many(lab, 1500)
    child = _in_terminal(lab)
    while not list((lab / "new").glob("document-*.json")):
        assert child.isalive()
    child.sendintr()
    child.expect("Interrupted: every document in the target is whole")
    child.read()
    child.close()
    assert (child.exitstatus or 128 + (child.signalstatus or 0)) == 128 + signal.SIGINT
    there = documents(lab / "new")
    assert 0 < len(there) < 1503
    assert there.items() <= documents(lab / "old").items()
    assert not list((lab / "new").rglob("*.tmp.*"))
