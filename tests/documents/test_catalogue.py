"""The offline catalogue [§7.2.9]: what is written, what is read back, and producers that write at once."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab_documents import CATALOGUE, ENDPOINT, ROW, stored_catalogue, stored_row

from exlab_store import open_store
from exlab_store.documents import (
    OFFLINE_CATALOGUE_VERSION,
    DocumentInvalid,
    LIMSProject,
    OfflineCatalogue,
    projects_from_lims,
    read_catalogue,
    write_catalogue,
)

if TYPE_CHECKING:
    from exlab_store import Store


def read(store: Store, data: bytes) -> OfflineCatalogue:
    store.atomic_write("lims-catalogue.json", data)
    return read_catalogue(store / "lims-catalogue.json", expected_endpoint=ENDPOINT)


def test_the_version_is_1_0() -> None:
    assert OFFLINE_CATALOGUE_VERSION == "1.0"


def test_what_is_written_is_read_back(store: Store) -> None:
    write_catalogue(store / "a" / "lims-catalogue.json", CATALOGUE)
    assert read_catalogue(store / "a" / "lims-catalogue.json", expected_endpoint=ENDPOINT) == CATALOGUE


def test_the_bytes_are_compact_json_in_the_order_of_the_format_with_nulls(store: Store) -> None:
    write_catalogue(store / "lims-catalogue.json", CATALOGUE)
    assert store.read_snapshot("lims-catalogue.json").data.decode() == (
        '{"schema_version":"1.0","produced_by":"LAB_STATION_01","produced_at":"2026-05-05T14:23:00Z",'
        '"lims_endpoint":"https://lims.lab.example/api/v1","projects":[{"uid":"7f3c","short_id":"PROJ-0042",'
        '"name":"Zebrafish µ-imaging","status":"Active","owner":"a.lovelace","fetched_at":"2026-05-05T14:23:00Z",'
        '"description":null,"contact_name":null,"metadata":{}}]}'
    )


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_catalogue(tmp_path / "lab" / ".exlab-wizard" / "lims-catalogue.json", CATALOGUE)
    assert (tmp_path / "lab" / ".exlab-wizard" / "lims-catalogue.json").is_file()


def test_neither_writing_nor_reading_makes_a_lock_file(tmp_path: Path) -> None:
    write_catalogue(tmp_path / "lims-catalogue.json", CATALOGUE)
    read_catalogue(tmp_path / "lims-catalogue.json", expected_endpoint=ENDPOINT)
    assert [path.name for path in tmp_path.iterdir()] == ["lims-catalogue.json"]


def test_neither_writing_nor_reading_waits_for_a_lock(store: Store) -> None:
    with store.lock("lims-catalogue.json"):
        write_catalogue(store / "lims-catalogue.json", CATALOGUE)
        assert read_catalogue(store / "lims-catalogue.json", expected_endpoint=ENDPOINT) == CATALOGUE


@pytest.mark.parametrize("form", ["Path", "str", "URL", "StorePath"])
def test_a_location_may_be_given_as_a_path_a_text_a_url_and_a_store_path(
    posix: Store, tmp_path: Path, form: str
) -> None:
    file = tmp_path / "new folder" / "lims catalogue.json"
    location: Any = {
        "Path": file,
        "str": str(file),
        "URL": file.as_uri(),
        "StorePath": posix / "new folder" / "lims catalogue.json",
    }[form]
    write_catalogue(location, CATALOGUE)
    assert file.is_file()
    assert read_catalogue(location, expected_endpoint=ENDPOINT) == CATALOGUE


def test_each_producer_replaces_the_whole_document(memory: Store) -> None:
    write_catalogue(memory / "c.json", msgspec.structs.replace(CATALOGUE, projects=[ROW] * 3))
    write_catalogue(memory / "c.json", CATALOGUE)
    assert read_catalogue(memory / "c.json", expected_endpoint=ENDPOINT).projects == [ROW]


def test_unknown_keys_of_a_row_and_of_the_document_are_ignored(memory: Store) -> None:
    row = stored_row(colour="blue", links=[{"a": 1}])
    assert read(memory, stored_catalogue(projects=[row], comment={"x": 1})) == CATALOGUE


@pytest.mark.parametrize(
    ("field", "default"),
    [("description", None), ("contact_name", None), ("metadata", {})],
    ids=lambda value: str(value),
)
def test_a_row_may_lack_what_is_optional(memory: Store, field: str, default: object) -> None:
    found = read(memory, stored_catalogue(projects=[stored_row(**{field: ...})]))
    assert getattr(found.projects[0], field) == default


def test_rows_do_not_share_their_default_metadata(memory: Store) -> None:
    found = read(memory, stored_catalogue(projects=[stored_row(metadata=...), stored_row(metadata=...)]))
    found.projects[0].metadata["mine"] = 1
    assert found.projects[1].metadata == {}


@pytest.mark.parametrize("projects", [..., None, []], ids=["missing", "null", "empty"])
def test_missing_and_null_projects_are_an_empty_list(memory: Store, projects: Any) -> None:
    assert read(memory, stored_catalogue(projects=projects)).projects == []


@pytest.mark.parametrize("field", ["produced_by", "produced_at"])
def test_a_missing_producer_or_time_is_empty_text(memory: Store, field: str) -> None:
    assert getattr(read(memory, stored_catalogue(**{field: ...})), field) == ""


@pytest.mark.parametrize("status", ["Pending", "Active", "Completed", "Archived", "Paused by 山田", ""])
def test_whatever_text_the_status_is_it_is_kept(memory: Store, status: str) -> None:
    assert read(memory, stored_catalogue(projects=[stored_row(status=status)])).projects[0].status == status


def test_metadata_of_any_shape_is_kept(memory: Store) -> None:
    metadata = {"": None, "n": [1, -0.0, 2**70], "nested": {"quote": '"\\\n', "scripts": "日本語 ʻŌ 𝔘"}}
    found = read(memory, stored_catalogue(projects=[stored_row(metadata=metadata)]))
    assert repr(found.projects[0].metadata) == repr(metadata)


def test_a_catalogue_of_50_mb_is_read(posix: Store) -> None:
    row = msgspec.json.encode(stored_row(description="x" * 1000))
    rows = b",".join([row] * (50_000_000 // len(row) + 1))
    found = read(posix, stored_catalogue(projects=["rows"]).replace(b'"rows"', rows))
    assert len(found.projects) == rows.count(b"7f3c")


def test_the_keys_of_a_document_may_stand_in_any_order(memory: Store) -> None:
    backwards = json.dumps(dict(reversed(json.loads(stored_catalogue()).items())), indent=2).encode()
    assert read(memory, backwards) == CATALOGUE


@pytest.mark.parametrize(
    "metadata",
    [{"x": object()}, {"x": "\ud800"}, {"x": {1.5: {2, 3}, (1, 2): 0}}],
    ids=["an object", "half a surrogate pair", "keys that are no text"],
)
def test_a_catalogue_that_json_cannot_hold_is_refused_and_the_stored_one_stays(
    memory: Store, metadata: dict[str, Any]
) -> None:
    write_catalogue(memory / "c.json", CATALOGUE)
    before = memory.read_snapshot("c.json").data
    with pytest.raises(DocumentInvalid):
        write_catalogue(
            memory / "c.json",
            msgspec.structs.replace(CATALOGUE, projects=[msgspec.structs.replace(ROW, metadata=metadata)]),
        )
    assert memory.read_snapshot("c.json").data == before


def test_metadata_that_contains_itself_is_refused(memory: Store) -> None:
    circle: dict[str, Any] = {}
    circle["x"] = circle
    rows = [msgspec.structs.replace(ROW, metadata=circle)]
    with pytest.raises(DocumentInvalid):
        write_catalogue(memory / "c.json", msgspec.structs.replace(CATALOGUE, projects=rows))


def test_the_refusal_names_the_document_and_the_store(posix: Store) -> None:
    rows = [msgspec.structs.replace(ROW, metadata={"x": object()})]
    with pytest.raises(DocumentInvalid) as caught:
        write_catalogue(posix / "c.json", msgspec.structs.replace(CATALOGUE, projects=rows))
    assert (caught.value.key, caught.value.location) == ("c.json", str(posix.location))


@pytest.mark.parametrize(
    "change",
    [{"schema_version": None}, {"projects": None}, {"projects": [{"uid": 1}]}, {"lims_endpoint": None}],
    ids=str,
)
def test_a_catalogue_that_no_workstation_could_read_is_not_published_over_one_that_all_can(
    memory: Store, change: dict[str, Any]
) -> None:
    write_catalogue(memory / "c.json", CATALOGUE)
    with suppress(DocumentInvalid):
        write_catalogue(memory / "c.json", msgspec.structs.replace(CATALOGUE, **change))
    read_catalogue(memory / "c.json", expected_endpoint=ENDPOINT)


text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
rows = st.builds(
    LIMSProject,
    *[text] * 6,
    description=st.none() | text,
    contact_name=st.none() | text,
    metadata=st.dictionaries(text, values, max_size=3),
)


@given(st.lists(rows, max_size=5), text, text)
@settings(deadline=None, max_examples=100)
def test_any_catalogue_is_read_back_as_it_was_written(projects: list[LIMSProject], by: str, endpoint: str) -> None:
    catalogue = OfflineCatalogue("1.0", by, "2026-05-05T14:23:00Z", endpoint, projects)
    with open_store("memory://") as store:
        write_catalogue(store / "c.json", catalogue)
        assert repr(read_catalogue(store / "c.json", expected_endpoint=endpoint)) == repr(catalogue)


# ------------------------------------------------------------------------------------------- the LIMS's answer


@pytest.fixture(scope="module")
def answer() -> bytes:
    return Path(__file__).with_name("lims_projects.json").read_bytes()


def test_every_row_of_a_real_answer_comes_back_from_the_catalogue(answer: bytes, memory: Store) -> None:
    projects = projects_from_lims(answer, fetched_at="2026-05-05T14:23:00Z")
    write_catalogue(memory / "c.json", msgspec.structs.replace(CATALOGUE, projects=projects))
    found = read_catalogue(memory / "c.json", expected_endpoint=ENDPOINT).projects
    sent = json.loads(answer)["data"]
    assert [row.uid for row in found] == [row["uid"] for row in sent]
    assert [row.name for row in found] == [row["name"] for row in sent]


def test_every_row_of_a_real_answer_is_stored_with_all_nine_keys(answer: bytes, memory: Store) -> None:
    projects = projects_from_lims(answer, fetched_at="2026-05-05T14:23:00Z")
    write_catalogue(memory / "c.json", msgspec.structs.replace(CATALOGUE, projects=projects))
    stored = json.loads(memory.read_snapshot("c.json").data)["projects"]
    assert {tuple(row) for row in stored} == {LIMSProject.__struct_fields__}


@pytest.mark.parametrize(
    "bad",
    [b"", b"[]", b"{}", b'{"data":null}', b'{"data":[{"uid":1}]}', b'{"data":[],"count":1}', b"\xff", b'{"data":[1]}'],
    ids=repr,
)
def test_what_is_no_answer_of_a_lims_is_refused(bad: bytes) -> None:
    with pytest.raises(DocumentInvalid):
        projects_from_lims(bad)


def test_an_answer_that_is_nested_too_deeply_is_refused() -> None:
    deep = b'{"data":[],"x":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"
    with pytest.raises(DocumentInvalid):
        projects_from_lims(deep)


# ------------------------------------------------------------------------------------------- producers at once

PRODUCER = """
import os, sys
os.getpid = lambda: 4242
from exlab_store.documents import LIMSProject, OfflineCatalogue, write_catalogue
path, me, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
row = LIMSProject("u", "PROJ-1", "n", "Active", me, "2026-05-05T14:23:00Z", description=me * 50)
print("ready", flush=True)
sys.stdin.readline()
for number in range(rounds):
    rows = [row] * (number % 150)
    write_catalogue(path, OfflineCatalogue("1.0", me, str(len(rows)), "https://lims.lab.example/api/v1", rows))
"""


@pytest.mark.one_interpreter
def test_two_producers_with_the_same_process_id_never_fail_and_nobody_reads_a_mixture(tmp_path: Path) -> None:
    file = tmp_path / "lims-catalogue.json"
    write_catalogue(file, msgspec.structs.replace(CATALOGUE, produced_at="1"))
    producers = [
        subprocess.Popen(
            [sys.executable, "-c", PRODUCER, str(file), me, "400"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in "AB"
    ]
    for producer in producers:
        assert producer.stdout is not None
        assert producer.stdin is not None
        producer.stdout.readline()
    for producer in producers:
        assert producer.stdin is not None
        producer.stdin.write("go\n")
        producer.stdin.flush()
    mixtures = []
    seen = set()
    while any(producer.poll() is None for producer in producers):
        found = read_catalogue(file, expected_endpoint=ENDPOINT)
        seen.add(found.produced_by)
        owners = {row.owner for row in found.projects} - {ROW.owner}
        if len(found.projects) != int(found.produced_at) or not owners <= {found.produced_by}:
            mixtures.append(found)
    for producer in producers:
        with producer:
            producer.communicate()
    assert [producer.returncode for producer in producers] == [0, 0]
    assert mixtures == []
    assert [path.name for path in tmp_path.iterdir()] == ["lims-catalogue.json"]
    assert seen
