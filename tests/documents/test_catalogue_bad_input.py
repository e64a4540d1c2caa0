"""`read_catalogue` raises `ConfigError`, and nothing else, whatever stands in the catalogue's place [§7.2.9]."""

from __future__ import annotations

import json
import os
import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lab_documents import ENDPOINT, stored_catalogue, stored_row

from exlab_store import ConfigError, open_store
from exlab_store.documents import OfflineCatalogue, read_catalogue

if TYPE_CHECKING:
    from exlab_store import Store

GOOD = stored_catalogue()
DEEP = b"[" * 1_000_000 + b"]" * 1_000_000


def in_row(value: bytes) -> bytes:
    """A catalogue whose only row has this value in its metadata."""
    return stored_catalogue(projects=[stored_row(metadata={"x": "HERE"})]).replace(b'"HERE"', value)


BAD = {
    "empty": b"",
    "only spaces": b" \n\t ",
    "truncated in a row": GOOD[:-30],
    "truncated at the end": GOOD[:-1],
    "an array": b"[" + GOOD + b"]",
    "an empty array": b"[]",
    "a text": b'"catalogue"',
    "a number": b"1.0",
    "null": b"null",
    "two documents": GOOD * 2,
    "text behind": GOOD + b"\nEOF",
    "a NUL behind": GOOD + b"\0",
    "all NULs": b"\0" * 4096,
    "a NUL inside": GOOD.replace(b"Active", b"Act\0ive"),
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-32": GOOD.decode().encode("utf-32-le"),
    "Latin-1": GOOD.decode().encode("latin-1"),
    "not UTF-8 in a text": GOOD.replace(b"Active", b"\xff\xfe"),
    "not UTF-8 in the version": GOOD.replace(b'"1.0"', b'"1.\xff"'),
    "not UTF-8 in the endpoint": GOOD.replace(b"https", b"\xc3\x28"),
    "an encoded surrogate": GOOD.replace(b"Active", b"\xed\xa0\x80"),
    "half a surrogate pair": GOOD.replace(b"Active", rb"\ud800"),
    "an unknown escape": GOOD.replace(b"Active", rb"\q"),
    "a line break in a text": GOOD.replace(b"Active", b"Act\nive"),
    "NaN": in_row(b"NaN"),
    "Infinity": in_row(b"-Infinity"),
    "1e400": in_row(b"1e400"),
    "an integer of 5,001 digits": in_row(b"1" + b"0" * 5000),
    "a leading zero": in_row(b"01"),
    "single quotes": GOOD.replace(b'"', b"'"),
    "a comment": b"// catalogue\n" + GOOD,
    "a trailing comma": GOOD.replace(b"}]}", b"},]}"),
    "deep nesting in metadata": in_row(DEEP),
    "deep nesting in an unknown field": GOOD[:-1] + b',"x":' + DEEP + b"}",
    "deep nesting in the version": GOOD.replace(b'"1.0"', DEEP),
    "only opening brackets": b"[" * 1_000_000,
    "only opening braces": b'{"a":' * 1_000_000,
    "50 MB of spaces": b" " * 50_000_000,
    "50 MB without an end": GOOD[:-2] + b"," + b",".join([msgspec.json.encode(stored_row())] * 250_000),
    "HTML": b"<!DOCTYPE html><title>502 Bad Gateway</title>",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
}

MISFITS = {
    "no version": {"schema_version": ...},
    "a version of null": {"schema_version": None},
    "a version that is a number": {"schema_version": 1.0},
    "no endpoint": {"lims_endpoint": ...},
    "an endpoint of null": {"lims_endpoint": None},
    "an endpoint that is a list": {"lims_endpoint": [ENDPOINT]},
    "projects that are an object": {"projects": {}},
    "projects that are text": {"projects": "[]"},
    "projects that are false": {"projects": False},
    "a producer that is a number": {"produced_by": 7},
    "a time that is null": {"produced_at": None},
    "a row that is null": {"projects": [None]},
    "a row that is a list": {"projects": [["7f3c"]]},
}


@pytest.fixture
def seed() -> int:
    return 20260505


def refusal(store: Store, data: bytes) -> ConfigError:
    store.atomic_write("lims-catalogue.json", data)
    with pytest.raises(ConfigError) as caught:
        read_catalogue(store / "lims-catalogue.json", expected_endpoint=ENDPOINT)
    return caught.value


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bytes_that_are_no_catalogue_are_a_config_error(memory: Store, data: bytes) -> None:
    refusal(memory, data)


@pytest.mark.parametrize("change", MISFITS.values(), ids=MISFITS)
def test_a_document_that_does_not_fit_is_a_config_error(memory: Store, change: dict[str, Any]) -> None:
    refusal(memory, stored_catalogue(**change))


@pytest.mark.parametrize("version", ["1.1", "1.00", "2.0", "0.9", "", "1.0 ", "1", "one"], ids=repr)
def test_only_exactly_this_version_is_read_and_the_message_says_schema_version(memory: Store, version: str) -> None:
    assert "schema_version" in str(refusal(memory, stored_catalogue(schema_version=version)))


def test_the_version_is_named_even_when_the_rows_of_the_other_version_do_not_fit(memory: Store) -> None:
    other = stored_catalogue(schema_version="2.0", projects={"7f3c": {"title": "of another shape"}})
    assert "schema_version" in refusal(memory, other).message


@pytest.mark.parametrize(
    "endpoint",
    ["https://other.example/api/v1", ENDPOINT + "/", ENDPOINT.upper(), "http://lims.lab.example/api/v1", ""],
)
def test_the_catalogue_of_another_lims_is_rejected_and_the_message_says_endpoint(memory: Store, endpoint: str) -> None:
    assert "endpoint" in refusal(memory, stored_catalogue(lims_endpoint=endpoint)).message


def test_the_endpoint_is_named_even_when_a_row_of_the_other_lims_does_not_fit(memory: Store) -> None:
    other = stored_catalogue(lims_endpoint="https://other.example", projects=[{"uid": 1}])
    assert "endpoint" in refusal(memory, other).message


@pytest.mark.parametrize("index", [0, 1, 41])
@pytest.mark.parametrize(
    ("field", "value"),
    [("uid", 7), ("short_id", ...), ("name", None), ("status", 1), ("owner", {}), ("fetched_at", [])]
    + [("description", 1), ("contact_name", []), ("metadata", "text"), ("metadata", []), ("metadata", None)],
    ids=str,
)
def test_a_bad_row_is_named_by_its_index_and_its_field(memory: Store, index: int, field: str, value: Any) -> None:
    rows = [stored_row() for _ in range(index)] + [stored_row(**{field: value}), stored_row(uid=9)]
    message = refusal(memory, stored_catalogue(projects=rows)).message
    assert f"[{index}]" in message
    assert field in message


@pytest.mark.parametrize("data", [b"", GOOD[:-1], b"[]", stored_catalogue(projects=[{}])], ids=range(4))
def test_the_refusal_names_the_document_the_store_and_what_to_do(posix: Store, data: bytes) -> None:
    error = refusal(posix, data)
    assert (error.key, error.location) == ("lims-catalogue.json", str(posix.location))
    assert error.hint


def test_the_stored_catalogue_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(GOOD[:-1])
    with pytest.raises(ConfigError):
        read_catalogue(tmp_path / "c.json", expected_endpoint=ENDPOINT)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("c.json", GOOD[:-1])]


# ------------------------------------------------------------------------------------------- unreadable places


def unreadable(place: Path, what: str) -> Path:
    """A place where a catalogue should be and something else is."""
    path = place / "lims-catalogue.json"
    match what:
        case "missing file":
            pass
        case "missing folder":
            return place / "nowhere" / "at" / "all" / path.name
        case "directory":
            path.mkdir()
        case "file as folder":
            path.write_bytes(GOOD)
            return path / path.name
        case "dangling link":
            path.symlink_to("nowhere")
        case "link to itself":
            path.symlink_to(path)
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                where = Path.cwd()
                os.chdir(place)  # the path of a socket may have 107 bytes
                try:
                    server.bind(path.name)
                finally:
                    os.chdir(where)
        case "device":
            return Path("/dev/null")
        case "name too long":
            return place / ("x" * 256)
        case "path too long":
            return Path(*[str(place)] + ["x" * 200] * 30, path.name)
    return path


UNREADABLE = [
    "missing file",
    "missing folder",
    "directory",
    "file as folder",
    "dangling link",
    "link to itself",
    "pipe",
    "socket",
    "device",
    "name too long",
    "path too long",
]


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_document_that_is_missing_or_unreadable_is_a_config_error(tmp_path: Path, what: str) -> None:
    with pytest.raises(ConfigError):
        read_catalogue(unreadable(tmp_path, what), expected_endpoint=ENDPOINT)


@pytest.mark.parametrize("what", ["missing file", "missing folder", "directory", "pipe"])
def test_the_refusal_of_an_unreadable_one_says_where_and_what_to_do(tmp_path: Path, what: str) -> None:
    path = unreadable(tmp_path, what)
    with pytest.raises(ConfigError) as caught:
        read_catalogue(path, expected_endpoint=ENDPOINT)
    assert (caught.value.key, caught.value.location) == (path.name, path.parent.as_uri())
    assert caught.value.hint


def test_a_document_that_is_missing_in_memory_is_a_config_error(memory: Store) -> None:
    with pytest.raises(ConfigError):
        read_catalogue(memory / "lims-catalogue.json", expected_endpoint=ENDPOINT)


def test_a_store_that_was_closed_is_a_config_error(memory: Store) -> None:
    memory.atomic_write("c.json", GOOD)
    memory.close()
    with pytest.raises(ConfigError):
        read_catalogue(memory / "c.json", expected_endpoint=ENDPOINT)


LOCATIONS: list[Any] = [
    "",
    "lims-catalogue.json",
    Path("lims-catalogue.json"),
    "../lims-catalogue.json",
    "~/lims-catalogue.json",
    "@lab/lims-catalogue.json",
    "nosuchscheme://nas01/lab/lims-catalogue.json",
    "file:lims-catalogue.json",
    "file://nas01/lab/lims-catalogue.json",
    "file:///lab/lims-catalogue.json?x",
    "file:///%ff",
    "file:///%00",
    "memory://",
    "memory:///lims-catalogue.json",
    "memory://name",
    "memory://name:port/x.json",
    "memory://user@name/x.json",
    "http://[::1/x",
    "/",
    "/..",
    "/tmp/nul.json",
    "/tmp/a:b.json",
    "/tmp/x.lock",
    "/tmp/\udcff.json",
    "/tmp/\0.json",
    "/tmp/e\u0301.json",
]


@pytest.mark.parametrize("location", LOCATIONS, ids=ascii)
def test_a_location_that_cannot_be_used_is_a_config_error(location: Any) -> None:
    with pytest.raises(ConfigError):
        read_catalogue(location, expected_endpoint=ENDPOINT)


@pytest.mark.parametrize(
    "location", [b"/tmp/x.json", None, 7, ["/tmp/x.json"], object()], ids=lambda it: type(it).__name__
)
def test_a_location_of_a_wrong_type_is_a_config_error(location: Any) -> None:
    with pytest.raises(ConfigError):
        read_catalogue(location, expected_endpoint=ENDPOINT)


def test_the_refusal_of_an_unknown_scheme_names_those_that_are_installed() -> None:
    with pytest.raises(ConfigError, match=r"file, .*memory"):
        read_catalogue("nosuchscheme://nas01/c.json", expected_endpoint=ENDPOINT)


def test_the_refusal_of_a_location_shows_no_password() -> None:
    with pytest.raises(ConfigError) as caught:
        read_catalogue("nosuchscheme://svc:hunter2@nas01/c.json", expected_endpoint=ENDPOINT)
    assert "hunter2" not in f"{caught.value} {caught.value!r} {caught.value.envelope()} {caught.value.__cause__!r}"


# ------------------------------------------------------------------------------------------- anything at all


def outcome(data: bytes) -> OfflineCatalogue | ConfigError:
    """What reading these bytes gives; anything but a catalogue or a `ConfigError` fails the test."""
    with open_store("memory://") as store:
        store.atomic_write("c.json", data)
        try:
            return read_catalogue(store / "c.json", expected_endpoint=ENDPOINT)
        except ConfigError as error:
            return error


@given(st.binary(max_size=300))
@example(b"\xff")
@settings(deadline=None, max_examples=300)
def test_any_bytes_give_a_catalogue_or_a_config_error(data: bytes) -> None:
    outcome(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(list(OfflineCatalogue.__struct_fields__)), json_values), json_values)
@settings(deadline=None, max_examples=300)
def test_any_json_in_any_field_gives_a_catalogue_or_a_config_error(fields: dict[str, Any], other: Any) -> None:
    whole = {**json.loads(GOOD), **fields, "other": other}
    outcome(json.dumps(whole).encode())


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_any_damage_to_a_good_catalogue_gives_a_catalogue_or_a_config_error(data: st.DataObject) -> None:
    damaged = bytearray(stored_catalogue(projects=[stored_row(metadata={"a": [1, {"b": "\\"}]})] * 2))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.sampled_from(["replace", "insert", "remove", "repeat"])):
            case "replace":
                damaged[place] = data.draw(st.integers(0, 255))
            case "insert":
                damaged[place:place] = data.draw(st.binary(max_size=5))
            case "remove":
                del damaged[place : place + data.draw(st.integers(1, 20))]
            case "repeat":
                damaged[place:place] = damaged[place : place + 40]
        if not damaged:
            break
    outcome(bytes(damaged))


def test_a_catalogue_that_is_cut_anywhere_is_never_read_as_a_smaller_one() -> None:
    whole = stored_catalogue(projects=[stored_row()] * 2)
    read = [cut for cut in range(len(whole)) if not isinstance(outcome(whole[:cut]), ConfigError)]
    assert read == []


def test_a_block_of_nuls_anywhere_is_never_read_as_a_catalogue(seed: int) -> None:
    whole = stored_catalogue(projects=[stored_row()] * 2)
    chance = random.Random(seed)
    for _ in range(200):
        place = chance.randrange(len(whole))
        assert isinstance(outcome(whole[:place] + b"\0" * 16 + whole[place + 16 :]), ConfigError)
