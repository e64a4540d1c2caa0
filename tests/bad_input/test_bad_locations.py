"""Locations that cannot be opened, and passwords that no error shows."""

from __future__ import annotations

import pickle
import shutil
import traceback
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from places import NOBODY, OPERATIONS, probed, refusal

from exlab_store import AccessDenied, BackendUnavailable, Location, LocationError, StoreError, UnknownScheme, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store

pytest_plugins = ["bad_input_fixtures"]


def test_an_unknown_scheme_is_refused_and_names_the_installed_ones() -> None:
    found = refusal(lambda: open_store("nosuchscheme://nas01/lab"))
    assert found.flaws(UnknownScheme, "nosuchscheme://nas01/lab", "") == []
    assert {"file,", "memory,"} <= set(str(found.hint).split())


@pytest.mark.parametrize("location", ["data/lab", "./data", "../data", "~/lab", "@lab"])
def test_a_relative_place_is_refused_with_the_place_and_a_hint(location: str) -> None:
    assert refusal(lambda: open_store(location)).flaws(LocationError, location, "") == []


def test_a_missing_directory_is_refused_with_the_place_and_a_hint(place: Path) -> None:
    missing = place / "missing"
    assert refusal(lambda: open_store(missing)).flaws(LocationError, missing.as_uri(), "") == []


def test_a_missing_directory_is_not_made(place: Path) -> None:
    with pytest.raises(LocationError):
        open_store(place / "missing")
    assert not (place / "missing").exists()


@pytest.mark.parametrize("below", ["doc.json", "doc.json/deeper"])
def test_a_document_in_the_directorys_place_is_refused_with_the_place_and_a_hint(place: Path, below: str) -> None:
    location = place / below
    assert refusal(lambda: open_store(location)).flaws(LocationError, location.as_uri(), "") == []


@pytest.mark.parametrize(
    "location",
    ["", "/a\0b", "file:relative", "file:///%ff", "file:///a%00b", "file:///x?y", "smb://h:99999/x", "smb://h:p/x"]
    + ["file://nas01/lab", "memory:///folder", "memory://u@name", "memory://name:7", b"/bytes"],
    ids=repr,
)
def test_every_refused_location_comes_with_a_hint(location: Any) -> None:
    with pytest.raises(LocationError) as caught:
        open_store(location)
    assert caught.value.hint


@pytest.mark.parametrize("location", ["/data\0lab", "file:///x?y", "smb://h:99999/x", "memory:///folder"], ids=repr)
def test_every_refused_location_is_named(location: str) -> None:
    with pytest.raises(LocationError) as caught:
        open_store(location)
    assert caught.value.location


@pytest.mark.parametrize("location", [None, 7, object(), ["/x"]], ids=lambda it: type(it).__name__)
def test_a_location_of_a_wrong_type_is_a_type_error(location: Any) -> None:
    with pytest.raises(TypeError):
        open_store(location)


@pytest.mark.parametrize("location", ["memory://", "/"])
def test_an_option_that_the_backend_does_not_know_is_refused_with_the_place_and_a_hint(location: str) -> None:
    found = refusal(lambda: open_store(location, passwort="hunter2"))
    assert found.flaws(LocationError, str(Location.parse(location)), "") == []


def test_the_value_of_an_unknown_option_is_not_shown() -> None:
    assert "hunter2" not in refusal(lambda: open_store("/", password="hunter2")).text


@pytest.mark.usefixtures("needs_root")
def test_a_place_that_may_not_be_entered_is_refused(place: Path) -> None:
    (place / "closed" / "lab").mkdir(parents=True)
    (place / "closed").chmod(0o700)
    location = place / "closed" / "lab"
    found = probed("open", location, "--uid", NOBODY)
    assert found.flaws(AccessDenied, location.as_uri(), "", errno=13) == []


# ------------------------------------------------------------------------------------------- a place that vanishes


@pytest.mark.parametrize("verb", OPERATIONS)
@pytest.mark.parametrize("key", ["doc.json", "folder/doc.json"])
def test_a_vanished_place_is_not_taken_for_an_empty_one(place: Path, lab: Store, verb: str, key: str) -> None:
    (place / "folder").mkdir()
    (place / "folder" / "doc.json").write_bytes(b"{}")
    away = place.with_name(place.name + ".away")
    place.rename(away)
    try:
        found = refusal(lambda: OPERATIONS[verb](lab, key))
        assert not place.exists()
    finally:
        shutil.rmtree(place, ignore_errors=True)
        away.rename(place)
    assert found.flaws(BackendUnavailable, str(lab.location), key, errno=2) == []


def test_the_list_of_a_vanished_place_is_not_empty(place: Path, lab: Store) -> None:
    away = place.with_name(place.name + ".away")
    place.rename(away)
    try:
        found = refusal(lab.list_keys)
    finally:
        away.rename(place)
    assert found.flaws(BackendUnavailable, str(lab.location), "", errno=2) == []


def test_a_place_that_comes_back_is_used_again(place: Path, lab: Store) -> None:
    away = place.with_name(place.name + ".away")
    place.rename(away)
    with pytest.raises(BackendUnavailable):
        lab.read_snapshot("doc.json")
    away.rename(place)
    assert lab.read_snapshot("doc.json").data


# ------------------------------------------------------------------------------------------- secrets

SECRET = "hunter2"  # an invented one


def everything_shown(error: BaseException) -> str:
    """All that a log, a terminal or another process could come to see of an error and of its causes."""
    shown = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        shown += [str(seen), repr(seen), repr(seen.args)]
        if isinstance(seen, StoreError):
            shown += [str(seen.envelope()), str(seen.location), str(seen.key), str(seen.hint)]
            shown.append(repr(pickle.loads(pickle.dumps(seen)).__dict__))
        seen = seen.__cause__
    return "\n".join(shown)


URLS = [
    "smb://svc:{}@nas01/lab",
    "smb://svc:{}@nas01:445/lab",
    "smb://svc:{}@nas01:port/lab",
    "smb://svc:{}@nas01:99999/lab",
    "smb://svc:{}@nas01/lab?x=1",
    "smb://svc:{}@nas01/lab#x",
    "smb://svc:{}@nas01/%ff",
    "smb://svc:{}@[nas01/lab",
    "smb://svc:{}@na s01/lab",
    "smb://svc:{}%ff@nas01/lab",
    "smb://svc:{}%00@nas01/lab%00",
    "smb://svc:a/{}@nas01/lab",
    "smb://svc:{}/b@nas01/lab",
    "smb://svc:a@{}@nas01/lab",
    "smb://svc:{}@b@nas01/lab",
    "smb://svc:a:{}:b@nas01/lab",
    "smb://svc:a?{}@nas01/lab",
    "smb://svc:a#{}@nas01/lab",
    "smb://svc:{}\n@nas01/lab",
    "smb://svc@lab.example:{}@nas01/lab",
    "smb://LAB\\svc:{}@nas01/lab",
    "smb://LAB/svc:{}@nas01/lab",
    "smb://:{}@nas01/lab",
    "smb:/svc:{}@nas01/lab",
    "smb:svc:{}@nas01/lab",
    "smb:///svc:{}@nas01/lab",
    "smb:////svc:{}@nas01/lab",
    "SMB://svc:{}@nas01/lab",
    " smb://svc:{}@nas01/lab",
    "\nsmb://svc:{}@nas01/lab",
    "smb ://svc:{}@nas01/lab",
    "s://svc:{}@nas01/lab",
    "1smb://svc:{}@nas01/lab",
    "sm_b://svc:{}@nas01/lab",
    "://svc:{}@nas01/lab",
    "svc:{}@nas01/lab",
    "svc:{}@nas01:/lab",
    "@smb://svc:{}@nas01/lab",
    "'smb://svc:{}@nas01/lab'",
    "smb//svc:{}@nas01/lab",
    "smb;//svc:{}@nas01/lab",
    "file://svc:{}@nas01/lab",
    "memory://svc:{}@name",
    "memory://svc:{}@name/folder",
    "smb://svc:{}@nas01/lab\0",
    "smb://svc:{}@",
    "smb://svc:{}@/lab",
]


@pytest.mark.parametrize("url", URLS, ids=repr)
def test_no_error_about_a_url_shows_its_password(url: str) -> None:
    try:
        open_store(url.format(SECRET))
    except (StoreError, TypeError) as error:
        assert SECRET not in everything_shown(error)


@pytest.mark.parametrize(
    "url", ["smb://svc:{}@nas01/lab", "smb://svc@lab.example:{}@nas01/lab", "memory://svc:{}@name"], ids=repr
)
def test_no_error_about_a_path_object_made_of_a_url_shows_its_password(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(PurePosixPath(url.format(SECRET)))
    assert SECRET not in everything_shown(caught.value)


def test_no_text_of_a_location_shows_its_password() -> None:
    location = Location.parse(f"smb://svc:{SECRET}@nas01/lab")
    assert SECRET not in f"{location} {location!r} {location.parent} {location.parent!r}"


# By "S3" a password is known again, so nothing else may have it: Hypothesis takes texts from the source for its own.
passwords = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).map(lambda text: f"S3{text}")
before = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":S"), max_size=8)


@given(before, passwords, st.text(max_size=12).filter(lambda text: "S3" not in text))
@example("//svc", "S3@x", "nas01:port/lab")
@settings(deadline=None, max_examples=300)
def test_whatever_stands_around_it_a_password_before_an_at_sign_is_not_shown(
    user: str, password: str, rest: str
) -> None:
    try:
        open_store(f"nosuchscheme:{user}:{password}@{rest}")
    except StoreError as error:
        assert "S3" not in everything_shown(error).replace(f"@{rest}", "")
