"""`write_catalogue` publishes nothing that `read_catalogue` refuses: one bad row would hide every project [§7.2.9]."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab_documents import CATALOGUE, ENDPOINT, ROW, stored_catalogue

from exlab_store import open_store
from exlab_store.documents import (
    ConfigError,
    DocumentInvalid,
    OfflineCatalogue,
    awrite_catalogue,
    projects_from_lims,
    read_catalogue,
    write_catalogue,
)

if TYPE_CHECKING:
    from exlab_store import Store

BAD_ROWS: list[dict[str, Any]] = [{"metadata": None}, {"name": None}, {"uid": 7}, {"status": 5}, {"metadata": []}]
BAD_ROWS += [{"metadata": {"x": msgspec.Raw(b"}{")}}, {"description": 5}, {"contact_name": ["a"]}]
BAD_HEADS: list[dict[str, Any]] = [{"schema_version": "2.0"}, {"schema_version": "1.1"}, {"schema_version": None}]
BAD_HEADS += [{"lims_endpoint": None}, {"produced_by": None}, {"produced_at": 5}]


def with_row(changes: dict[str, Any]) -> OfflineCatalogue:
    rows = [ROW, ROW, msgspec.structs.replace(ROW, **changes), ROW]
    return msgspec.structs.replace(CATALOGUE, projects=rows)


@pytest.mark.parametrize("changes", BAD_ROWS, ids=str)
def test_a_row_that_cannot_be_read_is_refused_and_what_is_stored_stays(memory: Store, changes: dict[str, Any]) -> None:
    memory.atomic_write("c.json", stored_catalogue())
    with pytest.raises(DocumentInvalid):
        write_catalogue(memory / "c.json", with_row(changes))
    assert memory.read_snapshot("c.json").data == stored_catalogue()


@pytest.mark.parametrize("changes", [{"name": None}, {"metadata": None}, {"uid": 7}], ids=str)
def test_the_error_names_the_row_and_the_field(memory: Store, changes: dict[str, Any]) -> None:
    (field,) = changes
    with pytest.raises(DocumentInvalid, match=rf"projects\[2\]\.{field}") as caught:
        write_catalogue(memory / "c.json", with_row(changes))
    assert caught.value.key == "c.json"


@pytest.mark.parametrize("changes", BAD_HEADS, ids=str)
def test_a_head_that_cannot_be_read_is_refused(memory: Store, changes: dict[str, Any]) -> None:
    (field,) = changes
    with pytest.raises(DocumentInvalid, match=field):
        write_catalogue(memory / "c.json", msgspec.structs.replace(CATALOGUE, **changes))
    assert memory.list_keys() == []


def test_the_coroutine_checks_too(memory: Store) -> None:
    with pytest.raises(DocumentInvalid):
        anyio.run(awrite_catalogue, memory / "c.json", with_row({"name": None}))


@pytest.mark.parametrize("catalogue", [None, {}, [ROW]], ids=repr)
def test_what_is_no_catalogue_is_refused(memory: Store, catalogue: Any) -> None:
    with pytest.raises(DocumentInvalid, match="OfflineCatalogue"):
        write_catalogue(memory / "c.json", catalogue)


def test_metadata_of_null_in_a_lims_answer_is_an_empty_object(memory: Store) -> None:
    row = {"uid": "1", "short_id": "P", "name": "n", "status": "Active", "owner": "o", "metadata": None}
    rows = projects_from_lims(json.dumps({"data": [row]}).encode())
    write_catalogue(memory / "c.json", msgspec.structs.replace(CATALOGUE, projects=rows))
    assert read_catalogue(memory / "c.json", expected_endpoint=ENDPOINT).projects[0].metadata == {}


def test_a_byte_order_mark_is_skipped_in_a_catalogue_and_in_a_lims_answer(memory: Store) -> None:
    memory.atomic_write("c.json", b"\xef\xbb\xbf" + stored_catalogue())
    assert read_catalogue(memory / "c.json", expected_endpoint=ENDPOINT) == CATALOGUE
    assert projects_from_lims(b'\xef\xbb\xbf{"data":[]}') == []


def test_an_error_of_a_reader_names_the_byte_and_its_place(memory: Store) -> None:
    memory.atomic_write("c.json", stored_catalogue().replace("µ".encode(), b"\xb5"))
    with pytest.raises(ConfigError, match=r"byte 0xB5 at position \d+ is not UTF-8.*`\$\.projects\[0\]\.name`"):
        read_catalogue(memory / "c.json", expected_endpoint=ENDPOINT)


anything = st.none() | st.text(max_size=3) | st.integers() | st.floats() | st.lists(st.none(), max_size=2)
anything |= st.dictionaries(st.text(max_size=3) | st.integers(), st.none() | st.floats() | st.integers(), max_size=2)


@given(st.dictionaries(st.sampled_from(ROW.__struct_fields__), anything), st.integers(0, 3))
@settings(deadline=None, max_examples=200)
def test_whatever_is_published_can_be_read(changes: dict[str, Any], place: int) -> None:
    rows = [ROW, ROW, ROW, ROW]
    rows[place] = msgspec.structs.replace(ROW, **changes)
    with open_store("memory://") as store:
        try:
            write_catalogue(store / "c.json", msgspec.structs.replace(CATALOGUE, projects=rows))
        except DocumentInvalid:
            return
        assert len(read_catalogue(store / "c.json", expected_endpoint=ENDPOINT).projects) == 4


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels - 1):
        found = {"a": found}
    return found


NOT_ENCODABLE: list[dict[str, Any]] = [{"name": "\ud800"}, {"metadata": {"a": object()}}, {"metadata": {None: 1}}]
NOT_ENCODABLE += [{"metadata": {"a": 10**5000}}, {"metadata": nested(5000)}, {"metadata": nested(700)}]


@pytest.mark.parametrize("changes", NOT_ENCODABLE, ids=["name", "object", "name of none", "digits", "5000", "700"])
def test_the_error_names_the_row_where_the_encoder_refuses_too(memory: Store, changes: dict[str, Any]) -> None:
    (field,) = changes
    with pytest.raises(DocumentInvalid, match=rf"projects\[2\]\.{field}"):
        write_catalogue(memory / "c.json", with_row(changes))
    assert memory.list_keys() == []


@pytest.mark.parametrize(("levels", "published"), [(197, True), (198, False)])
def test_a_catalogue_nests_as_deeply_as_any_document(memory: Store, levels: int, published: bool) -> None:
    try:
        write_catalogue(memory / "c.json", with_row({"metadata": nested(levels)}))
    except DocumentInvalid as error:
        assert not published
        assert "nested too deeply, more than 200 levels - at `$.projects[2].metadata`" in error.message
    else:
        assert published
        assert len(read_catalogue(memory / "c.json", expected_endpoint=ENDPOINT).projects) == 4


@pytest.mark.parametrize("projects", [None, 5], ids=repr)
def test_projects_that_are_no_list_are_refused(memory: Store, projects: Any) -> None:
    with pytest.raises(DocumentInvalid):
        write_catalogue(memory / "c.json", msgspec.structs.replace(CATALOGUE, projects=projects))
