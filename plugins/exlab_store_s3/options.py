"""The options of an S3 location, named as obstore and the AWS tools name them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store.backend import Location, LocationError, Secret, ensure_no_mode, without_variables
from exlab_store_s3.profiles import read_profile

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["S3Options", "options_of"]

_SECRETS = ("secret_access_key", "session_token")
_SECONDS = {"timeout": (0.1, 600.0), "connect_timeout": (0.1, 600.0), "lease": (1.0, 3600.0)}


class S3Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of an S3 location.

    What is not given is taken from the environment (``AWS_REGION``, ``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID`` and so
    on), then from the profile, as the AWS tools do. Without keys in any of them, obstore asks for those of the
    container or of the machine (instance role).

    Attributes:
        access_key_id: The key's name; ``username`` is another word for it, in the URL as well.
        secret_access_key: The key; ``password`` is another word for it.
        session_token: Of a key that ends.
        profile: A profile of ``~/.aws/credentials`` and ``~/.aws/config``; the environment's key does not count then.
        region: Where the bucket is, ``us-east-1`` unless given.
        endpoint: The URL of a server that is not Amazon's. Nothing is encrypted over ``http://``.
        virtual_hosted_style_request: The bucket is a part of the server's name, and not of the path.
        skip_signature: Ask as nobody in particular, for a bucket that everybody may use.
        timeout: Seconds in which an operation comes back, whatever the network does; 0.1 to 600.
        connect_timeout: Seconds in which a connection must be made; 0.1 to 600.
        lease: Seconds after which the lock of a holder that has gone silent is free; 1 to 3,600. All clients of a
            bucket may have their own: it stands in the lock.
        durable: You vouch that the server has a document on its disks when it acknowledges it, as Amazon does. It
            cannot be asked for over S3, so that nothing is claimed without this.
    """

    access_key_id: str | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    profile: str | None = None
    region: str | None = None
    endpoint: str | None = None
    virtual_hosted_style_request: bool = False
    skip_signature: bool = False
    timeout: float = 30.0
    connect_timeout: float = 10.0
    lease: float = 30.0
    durable: bool = False

    def __post_init__(self) -> None:
        for name, (least, most) in _SECONDS.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"`{name}` must be from {least:g} to {most:g} seconds")
        if self.endpoint is not None and not self.endpoint.lower().startswith(("http://", "https://")):
            raise ValueError("`endpoint` must be a URL: https://host:port")
        if "@" in (self.endpoint or ""):
            raise ValueError("`endpoint` must have no user in it")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("`access_key_id` and `secret_access_key` go together")

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in ("endpoint", "region", "access_key_id")]

    def __repr__(self) -> str:
        return f"S3Options({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


@without_variables
def options_of(
    location: Location, given: Mapping[str, object], environment: Mapping[str, str] = os.environ
) -> S3Options:
    """The options of a location, with what the environment and the profile add.

    Args:
        location: Its user and password are the key.
        given: What the caller of `exlab_store.open_store` gave.
        environment: The variables of the AWS tools.

    Raises:
        LocationError: An option is not known, is wrong, or is given twice.
        NotSupported: A mode is asked for.
    """
    ensure_no_mode(
        given,
        "the objects of a bucket have no file permissions",
        "Leave mode out, and have the bucket's policy say it.",
    )
    options = dict(given)
    for name, other in (("username", "access_key_id"), ("password", "secret_access_key")):
        of_location = location.username if name == "username" else location.secret
        named = [word for word in (name, other) if options.get(word) is not None]
        if len(named) + (of_location is not None) > 1:
            raise LocationError(f"the {other} is given twice", hint="Give it in the URL or as one option.")
        value = of_location if of_location is not None else options.get(named[0]) if named else None
        options.pop(name, None)
        if value is not None:
            options[other] = value
    for name in _SECRETS:
        if isinstance(options.get(name), str):
            options[name] = Secret(str(options[name]))
    try:
        return _completed(msgspec.convert(options, S3Options, strict=True), environment)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        reason = str(error).split(" - at `$`")[0]
    raise LocationError(f"the options of s3: are wrong: {reason}", hint="See the list of its options.")


def _completed(options: S3Options, environment: Mapping[str, str]) -> S3Options:
    """What is left open, from the environment and from the profile."""
    profile = read_profile(options.profile, environment)
    # A key of the options stands alone; that of the environment does not count where a profile is named.
    keys: dict[str, Any] = {}
    if options.access_key_id is None and not options.skip_signature:
        of_environment = options.profile is None and environment.get("AWS_ACCESS_KEY_ID")
        if not of_environment and profile.access_key_id is not None and profile.secret_access_key is not None:
            keys = {
                "access_key_id": profile.access_key_id,
                "secret_access_key": profile.secret_access_key,
                "session_token": profile.session_token,
            }
    endpoint = next(filter(None, map(environment.get, ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))), None)
    region = next(filter(None, map(environment.get, ("AWS_REGION", "AWS_DEFAULT_REGION"))), None)
    return msgspec.structs.replace(
        options,
        endpoint=options.endpoint or endpoint or profile.endpoint,
        region=options.region or region or profile.region or "us-east-1",
        **keys,
    )
