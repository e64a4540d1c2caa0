"""Locations: what they mean, what is refused, and that a secret never shows."""

from __future__ import annotations

import copy
import os
import pickle
import time
from pathlib import Path
from pprint import pformat

import msgspec
import pytest
from rich.pretty import pretty_repr

from exlab_store import Location, LocationError, Secret


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory://", Location("memory")),
        ("memory://name", Location("memory", host="name")),
        ("memory://name/a/b", Location("memory", host="name", path="/a/b")),
        ("file:///data/lab", Location("file", path="/data/lab")),
        ("file:/data/lab", Location("file", path="/data/lab")),
        ("FILE:///data//lab/./x/", Location("file", path="/data/lab/x")),
        ("file:///a%20b%3Fc", Location("file", path="/a b?c")),
        ("smb://nas01/lab/exlab", Location("smb", host="nas01", path="/lab/exlab")),
        ("smb://nas01:4450/lab", Location("smb", host="nas01", port=4450, path="/lab")),
        ("smb://[fe80::1]:445/lab", Location("smb", host="[fe80::1]", port=445, path="/lab")),
        ("smb://svc:p%40ss%3Aword@nas/lab", Location("smb", "nas", "/lab", username="svc", password="p@ss:word")),
        ("smb://LAB;svc@nas/lab", Location("smb", "nas", "/lab", username="LAB;svc")),
        ("smb://svc:@nas/lab", Location("smb", "nas", "/lab", username="svc", password="")),
        ("/data/lab", Location("file", path="/data/lab")),
        ("/data/a:b%20c?d", Location("file", path="/data/a:b%20c?d")),
        ("/", Location("file", path="/")),
    ],
)
def test_a_location_is_read(text: str, expected: Location) -> None:
    assert Location.parse(text) == expected


def test_a_path_object_is_never_taken_for_a_url() -> None:
    with pytest.raises(LocationError, match="relative"):
        Location.parse(Path("file:/x"))


@pytest.mark.parametrize(
    "text",
    ["", "data/lab", "./data", "~/lab", "file:lab", "smb://nas:port/x", "smb://nas:70000/x", "smb://a@b@c/x"]
    + ["http://h/x?query", "http://h/x#fragment", "smb://nas/%ff", "file:///a%00b", "/a\0b", "@catalogue"]
    + ["file://u:%ff@h/x", f"smb://nas:{'1' * 4400}/x", f"smb://nas:{'0' * 4400}/x"],
    ids=lambda text: text[:20],
)
def test_a_location_that_cannot_be_opened_as_written_is_refused(text: str) -> None:
    with pytest.raises(LocationError):
        Location.parse(text)


@pytest.mark.parametrize("text", ["memory://name/a b", "file:///data/100%25/what%3F", "smb://LAB;svc@nas:44/x"])
def test_what_is_shown_can_be_read_back(text: str) -> None:
    location = Location.parse(text)
    assert Location.parse(str(location)) == location


def test_a_port_may_begin_with_zeros() -> None:
    assert Location.parse(f"smb://nas:{'0' * 4400}445/x").port == 445


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
def test_a_path_that_is_not_utf8_is_shown_as_a_url_that_can_be_read_back() -> None:
    location = Location.parse(os.fsdecode(b"/data/m\xfcller"))
    assert str(location) == "file:///data/m%FCller"
    assert Location.parse(str(location)) == location


@pytest.mark.parametrize("number", [0xD800, 0xDCFF])
def test_half_of_a_surrogate_pair_is_never_in_the_text_of_a_location(number: int) -> None:
    half = chr(number)
    location = Location("smb", host=f"h{half}", path=f"/p{half}", username=f"u{half}")
    assert str(location).isascii()


def test_a_password_is_in_no_text_of_a_location() -> None:
    location = Location.parse("smb://svc:hunter2@nas/lab")
    assert location.password == "hunter2"
    assert "hunter2" not in f"{location} {location!r} {pretty_repr(location)} {pformat(location)}"
    assert str(location) == "smb://svc:***@nas/lab"


@pytest.mark.parametrize(
    "text",
    [
        "smb://svc:hunter2@nas:port/x",
        "smb://svc:hunter2/slash@nas/x",
        "smb:/svc:hunter2@nas/x",
        "smb:svc:hunter2@nas/x",
        "smb://svc:hunter2@nas/x?y",
        "smb://svc:hunter2?@nas/x",
        "smb://svc:hunter2#@nas/x",
        "smb://svc:hunter2@extra@nas:x/x",
        "smb://:hunter2@nas:x/x",
    ],
)
def test_a_password_is_in_no_error_about_a_malformed_location(text: str) -> None:
    with pytest.raises(LocationError) as caught:
        Location.parse(text)
    assert "hunter2" not in f"{caught.value} {caught.value!r} {caught.value.envelope()}"


@pytest.mark.parametrize("text", [":" * 300_000, "smb:" + ":" * 300_000, "//h" + ":a" * 150_000, "x:" + "@" * 300_000])
def test_a_long_text_is_redacted_in_a_moment(text: str) -> None:
    began = time.process_time()
    with pytest.raises(LocationError):
        Location.parse(text)
    assert time.process_time() - began < 5  # with a regular expression, minutes


def test_the_parent_of_a_document_is_the_folder_that_holds_it() -> None:
    location = Location.parse("memory://name/a/b.json")
    assert (str(location.parent), location.name) == ("memory://name/a", "b.json")


def test_the_parent_of_a_file_at_the_top_is_the_top() -> None:
    assert Location.parse("/b.json").parent == Location("file", path="/")


def test_a_location_crosses_to_another_process() -> None:
    location = Location.parse("smb://svc@nas/lab")
    assert pickle.loads(pickle.dumps(location)) == location


def test_a_location_with_a_password_is_not_pickled_and_not_encoded() -> None:
    location = Location.parse("smb://svc:hunter2@nas/lab")
    with pytest.raises(TypeError, match="a password is not pickled"):
        pickle.dumps(location)
    with pytest.raises(TypeError, match="Secret"):
        msgspec.json.encode(location)
    assert copy.copy(location) == copy.deepcopy(location) == location


def test_a_location_can_be_made_and_changed_with_a_password_as_text() -> None:
    location = msgspec.structs.replace(Location("smb", "nas", password="hunter2"), path="/lab")
    assert (location.password, location.secret) == ("hunter2", Secret("hunter2"))
    assert msgspec.structs.replace(location, password="other").password == "other"
    assert "hunter2" not in repr(msgspec.structs.asdict(location))
