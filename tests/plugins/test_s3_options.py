"""The options of an S3 location: what is given, then the environment, then the profile, as the AWS tools have it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from exlab_store import Location, LocationError, Secret

pytest.importorskip("obstore")

from exlab_store_s3.options import options_of

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store_s3 import S3Options

CREDENTIALS = """
[default]
aws_access_key_id = default-id
aws_secret_access_key = default-Secret

[lab]
aws_access_key_id = lab-id
aws_secret_access_key = lab-Secret
aws_session_token = lab-Token
"""
CONFIG = """
[default]
region = eu-north-1

[profile lab]
region = eu-central-1
endpoint_url = https://s3.lab.example

[profile single]
sso_session = lab
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The files of the AWS tools, and no key in the environment itself."""
    (tmp_path / "credentials").write_text(CREDENTIALS)
    (tmp_path / "config").write_text(CONFIG)
    return {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }


def _options(environment: dict[str, str], url: str = "s3://lab", **given: Any) -> S3Options:
    return options_of(Location.parse(url), given, environment)


def _key(options: S3Options) -> tuple[str | None, str | None]:
    key = options.secret_access_key
    return options.access_key_id, None if key is None else key.reveal()


def test_a_profile_gives_the_key_the_region_and_the_endpoint(environment: dict[str, str]) -> None:
    options = _options(environment, profile="lab")
    assert _key(options) == ("lab-id", "lab-Secret")
    assert options.session_token == Secret("lab-Token")
    assert (options.region, options.endpoint) == ("eu-central-1", "https://s3.lab.example")


def test_without_a_profile_the_default_one_is_taken(environment: dict[str, str]) -> None:
    options = _options(environment)
    assert _key(options) == ("default-id", "default-Secret")
    assert options.region == "eu-north-1"


def test_the_environment_names_a_profile(environment: dict[str, str]) -> None:
    assert _key(_options(environment | {"AWS_PROFILE": "lab"}))[0] == "lab-id"


def test_a_key_of_the_environment_comes_before_the_default_profile_and_is_left_to_obstore(
    environment: dict[str, str],
) -> None:
    assert _key(_options(environment | {"AWS_ACCESS_KEY_ID": "other"})) == (None, None)


def test_a_named_profile_comes_before_the_key_of_the_environment(environment: dict[str, str]) -> None:
    assert _key(_options(environment | {"AWS_ACCESS_KEY_ID": "other"}, profile="lab"))[0] == "lab-id"


def test_what_is_given_comes_first(environment: dict[str, str]) -> None:
    options = _options(
        environment | {"AWS_REGION": "us-west-2", "AWS_ENDPOINT_URL": "https://other.example"},
        access_key_id="given",
        secret_access_key="given-Secret",
        region="eu-west-3",
        endpoint="https://given.example",
    )
    assert _key(options) == ("given", "given-Secret")
    assert (options.region, options.endpoint) == ("eu-west-3", "https://given.example")


def test_the_environment_comes_before_the_profile(environment: dict[str, str]) -> None:
    options = _options(environment | {"AWS_REGION": "us-west-2", "AWS_ENDPOINT_URL_S3": "https://env.example"})
    assert (options.region, options.endpoint) == ("us-west-2", "https://env.example")


def test_a_user_and_a_password_are_the_key(environment: dict[str, str]) -> None:
    assert _key(_options(environment, "s3://me:hush@lab")) == ("me", "hush")
    assert _key(_options(environment, "s3://me@lab", password="hush")) == ("me", "hush")
    assert _key(_options(environment, username="me", password="hush")) == ("me", "hush")


def test_a_profile_whose_key_another_tool_makes_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(LocationError, match="another tool"):
        _options(environment, profile="single")


def test_a_file_that_is_no_configuration_is_refused_and_not_shown(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("aws_secret_access_key = hush-hush\n")
    with pytest.raises(LocationError, match="cannot be read") as caught:
        _options(environment)
    assert caught.value.__cause__ is None
    assert "hush" not in str(caught.value)


FILES = ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"]


@pytest.mark.skipif(os.name == "nt", reason="about pipes in the file system")
@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(environment: dict[str, str], tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LocationError, match="pipe"):
        _options(environment | {name: str(tmp_path / "pipe")})


@pytest.mark.skipif(os.name == "nt", reason="about /dev/zero")
@pytest.mark.parametrize("name", FILES)
def test_a_file_without_end_is_not_read_to_its_end(environment: dict[str, str], name: str) -> None:
    with pytest.raises(LocationError, match="cannot be read"):
        _options(environment | {name: "/dev/zero"})


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("what", [os.devnull, ".", "nowhere"])
def test_what_is_no_file_for_the_aws_tools_is_none_here(
    environment: dict[str, str], tmp_path: Path, name: str, what: str
) -> None:
    path = what if what == os.devnull else str(tmp_path / what)
    _options(environment | {name: path})


def test_a_file_that_is_not_utf8_is_refused_and_not_shown(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "credentials").write_bytes(b"[default]\naws_secret_access_key = hush\xff\n")
    with pytest.raises(LocationError, match="UTF-8") as caught:
        _options(environment)
    assert caught.value.__context__ is None
    assert "hush" not in str(caught.value)


def test_nobody_is_asked_for_a_key_without_a_signature(environment: dict[str, str]) -> None:
    assert _key(_options(environment, skip_signature=True)) == (None, None)


def test_no_text_of_the_options_shows_a_key(environment: dict[str, str]) -> None:
    options = _options(environment, profile="lab")
    for text in (repr(options), str(options), f"{options.__rich_repr__()}"):
        assert "lab-Secret" not in text
        assert "lab-Token" not in text
