"""The shared files of the AWS tools: ``~/.aws/credentials`` and ``~/.aws/config``."""

from __future__ import annotations

import configparser
import os
from typing import TYPE_CHECKING, Final

import msgspec

from exlab_store.backend import LocationError, Secret, UnreadableFile, read_small_file, without_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Profile", "read_profile"]

_LARGEST: Final = 4 << 20  # bytes: some sites write thousands of profiles
# For the AWS tools there is no file then, as in a home folder that this account may not enter.
_NO_FILE: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
# What needs an AWS tool to be turned into keys.
_INDIRECT = ("credential_process", "credential_source", "role_arn", "sso_session", "sso_start_url")


class Profile(msgspec.Struct, frozen=True):
    """What a profile says; None for what it leaves out.

    Attributes:
        access_key_id: The key's name.
        secret_access_key: The key.
        session_token: Of a key that ends.
        region: Where the bucket is.
        endpoint: The server's URL.
    """

    access_key_id: str | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    region: str | None = None
    endpoint: str | None = None


@without_variables
def read_profile(name: str | None, environment: Mapping[str, str] = os.environ) -> Profile:
    """A profile of the files that the AWS tools share.

    Args:
        name: The profile, which must exist; None for that of ``AWS_PROFILE``, or ``default``, which need not.
        environment: ``AWS_PROFILE``, ``AWS_SHARED_CREDENTIALS_FILE`` and ``AWS_CONFIG_FILE``.

    Raises:
        LocationError: There is no such profile, a file cannot be read, or its keys come from another tool.
    """
    chosen = name or environment.get("AWS_PROFILE") or "default"
    found = {
        **_section(environment.get("AWS_CONFIG_FILE", "~/.aws/config"), f"profile {chosen}", chosen),
        **_section(environment.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), chosen),
    }
    if name is not None and not found:
        raise LocationError(f"there is no profile {name!r}", hint="Look into ~/.aws/credentials and ~/.aws/config.")
    if name is not None and "aws_access_key_id" not in found and any(word in found for word in _INDIRECT):
        raise LocationError(
            f"the keys of the profile {name!r} come from another tool",
            hint="Put them into the environment: aws configure export-credentials --format env.",
        )
    hidden = {word: Secret(found[word]) for word in ("aws_secret_access_key", "aws_session_token") if word in found}
    return Profile(
        found.get("aws_access_key_id"),
        hidden.get("aws_secret_access_key"),
        hidden.get("aws_session_token"),
        found.get("region"),
        found.get("endpoint_url"),
    )


def _section(path: str, *names: str) -> dict[str, str]:
    """The first of the sections that a file has."""
    parser, readable = configparser.RawConfigParser(), True
    text = _content(path)
    try:
        parser.read_string(text.reveal())
    except configparser.Error:
        readable = False
    if not readable:  # out here: the parser's error has lines of the file, which may be a secret
        raise LocationError(f"the file {path} cannot be read", hint="It must be as the AWS tools write it.")
    section = next((name for name in names if parser.has_section(name)), None)
    return {} if section is None else dict(parser.items(section))


def _content(path: str) -> Secret:
    """The text of a file; empty for what the AWS tools take for none, such as the null device."""
    path = os.path.expanduser(path)
    if path == os.devnull:
        return Secret("")
    try:
        return Secret(read_small_file(path, _LARGEST).decode("utf-8-sig"))
    except UnreadableFile as error:
        if isinstance(error.__cause__, _NO_FILE):
            return Secret("")
        reason = error.reason
    except UnicodeDecodeError:  # it has the file's bytes
        reason = "it is not UTF-8"
    raise LocationError(f"the file {path} cannot be read: {reason}", hint="It must be as the AWS tools write it.")
