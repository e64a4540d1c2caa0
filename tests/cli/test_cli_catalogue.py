"""``exlab-store catalogue``, in a process of its own and outside a terminal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from command_line import ANSWER, ENDPOINT, done, done_json, published, refused, run_command

from exlab_store.documents import read_catalogue

if TYPE_CHECKING:
    from pathlib import Path

OURS = ("--endpoint", ENDPOINT)


def _published(folder: Path, *rows: dict[str, object]) -> Path:
    row = {"uid": "u", "short_id": "PROJ-0001", "name": "n", "status": "Active", "owner": "o"}
    answer = json.dumps({"data": [row | more for more in rows]}).encode()
    return published(folder / "catalogue.json", answer)


def test_what_is_published_is_what_the_lims_answered(tmp_path: Path) -> None:
    said = done("catalogue", "publish", ANSWER, "nas/lims.json", *OURS, "--produced-by", "STATION_7", cwd=tmp_path)
    assert said == f"Published 500 projects of {ENDPOINT} as file://{tmp_path}/nas/lims.json.\n"
    catalogue = read_catalogue(tmp_path / "nas" / "lims.json", expected_endpoint=ENDPOINT)
    assert catalogue.produced_by == "STATION_7"
    answer = json.loads(ANSWER.read_bytes())["data"]
    assert [row.name for row in catalogue.projects] == [row["name"] for row in answer]
    assert {row.fetched_at for row in catalogue.projects} == {catalogue.produced_at}


def test_publish_says_in_json_what_it_published(tmp_path: Path) -> None:
    said = done_json("catalogue", "publish", ANSWER, tmp_path / "c.json", *OURS)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", said.pop("produced_at"))
    assert said.pop("produced_by")
    assert said == {
        "location": f"file://{tmp_path}/c.json",
        "projects": 500,
        "schema_version": "1.0",
        "lims_endpoint": ENDPOINT,
    }


def test_show_json_is_the_whole_document(tmp_path: Path) -> None:
    path = _published(tmp_path, {"metadata": {"deep": [1]}, "name": "田中\n"})
    assert done_json("catalogue", "show", path, *OURS) == json.loads(path.read_bytes())


def test_show_lists_every_project_within_80_columns(tmp_path: Path) -> None:
    lines = done("catalogue", "show", published(tmp_path / "c.json"), *OURS).splitlines()
    assert lines[0].startswith(f"500 projects of {ENDPOINT}, published by ")
    assert sum(line.startswith(" PROJ-") for line in lines) == 500
    assert max(map(len, lines)) <= 80


def test_show_neither_interprets_nor_cuts_what_people_typed(tmp_path: Path) -> None:
    names = {"name": "[red]A[/red] \x1b[31m", "description": "one\ntwo", "owner": "a" * 60, "contact_name": "T. 田中"}
    shown = done("catalogue", "show", _published(tmp_path, names), *OURS)
    assert "[red]A[/red] \\x1b[31m" in shown
    assert "one two" in shown
    assert "T. 田中" in shown
    assert shown.count("a" * 10) >= 2
    assert sum(line.count("a") for line in shown.splitlines()[3:] if "a" * 5 in line) >= 60
    assert "\x1b" not in shown


def test_show_works_where_the_encoding_lacks_the_characters(tmp_path: Path) -> None:
    path = _published(tmp_path, {"name": "田中"})
    result = run_command("catalogue", "show", path, *OURS, PYTHONIOENCODING="ascii")
    assert (result.returncode, "??" in result.stdout) == (0, True)


def test_an_empty_catalogue_is_shown_as_such(tmp_path: Path) -> None:
    assert done("catalogue", "show", _published(tmp_path), *OURS).startswith(f"0 projects of {ENDPOINT}")


@pytest.mark.parametrize(
    ("source", "content", "code", "message"),
    [
        ("missing.json", None, 3, "Error: missing.json: there is no such file.\n"),
        (".", None, 2, "Error: .: it is a directory.\n"),
        ("a.json", b'\xff\xfe{"data": []}', 1, "Error: a.json: this is not a LIMS's list of projects"),
        ("a.json", b'{"data": [{"uid": 1}]}', 1, "$.data[0].uid"),
        ("a.json", b'{"data": [], "count": 9}', 1, "0 projects and says that there are 9"),
        ("a.json", b"", 1, "Error: a.json:"),
        ("-", None, 1, "Error: standard input:"),
    ],
)
def test_a_bad_source_is_refused_and_nothing_is_written(
    tmp_path: Path, source: str, content: bytes | None, code: int, message: str
) -> None:
    if content is not None:
        (tmp_path / source).write_bytes(content)
    said = refused(code, "catalogue", "publish", source, "nas/c.json", *OURS, cwd=tmp_path)
    assert message in said
    assert "\nHint: " in said
    assert not (tmp_path / "nas").exists()


def test_another_lims_is_a_conflict(tmp_path: Path) -> None:
    said = refused(4, "catalogue", "show", _published(tmp_path), "--endpoint", "https://theirs")
    assert f"lims_endpoint is {ENDPOINT!r}" in said


def test_a_missing_catalogue_is_not_found(tmp_path: Path) -> None:
    said = refused(3, "catalogue", "show", "nowhere/c.json", *OURS, cwd=tmp_path)
    assert said.startswith(f"Error: c.json in file://{tmp_path}/nowhere: ")


def test_a_damaged_catalogue_is_a_failure_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b'{"schema_version":')
    said = refused(1, "catalogue", "show", tmp_path / "c.json", *OURS)
    assert "not valid JSON" in said
    assert "\nHint: Have a workstation" in said


@pytest.mark.parametrize(("how", "code"), [("unavailable", 6), ("denied", 1), ("full", 1), ("crashed", 1)])
def test_what_the_storage_says_becomes_a_sentence_and_a_code(how: str, code: int) -> None:
    location = f"failing://user:secret@{how}/lab/c.json"
    command = ("publish", str(ANSWER), location) if how == "full" else ("show", location)
    said = refused(code, "catalogue", *command, *OURS, process=True, with_faulty=True)
    assert said.startswith(f"Error: c.json in failing://user:***@{how}/lab: ")
    assert "secret" not in said
    assert "\x1b" not in said


def test_with_json_an_error_is_one_line_of_json(tmp_path: Path) -> None:
    said = refused(3, "catalogue", "show", tmp_path / "c.json", *OURS, "--json")
    assert said.count("\n") == 1
    error = json.loads(said)["error"]
    assert error["code"] == "config_error"
    assert "there is no such document" in error["message"]
