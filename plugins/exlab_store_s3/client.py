"""obstore's client of a bucket."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from obstore.store import S3Store

from exlab_store.backend import LocationError, in_forked_child, without_variables
from exlab_store_s3.faults import forked_child, read_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import S3Config, S3Credential

    from exlab_store_s3.options import S3Options

__all__ = ["client_of"]

# Rust's runtime has threads, which a forked child does not have: obstore panics there, or waits without end.
_made_in: int | None = None
_forked = False


def _note_fork() -> None:
    global _forked
    _forked = _made_in is not None


in_forked_child(_note_fork)


@without_variables
def client_of(bucket: str, options: S3Options) -> S3Store:
    """A client that repeats nothing by itself.

    Args:
        bucket: The bucket's name.
        options: Of the location.

    Raises:
        NotSupported: This is a forked child of a process that has used S3.
        LocationError: obstore does not take the options.
    """
    global _made_in
    if _forked:
        raise forked_child()
    _made_in = os.getpid()
    config: dict[str, Any] = {
        "region": options.region,
        "virtual_hosted_style_request": options.virtual_hosted_style_request,
        "skip_signature": options.skip_signature,
        "conditional_put": "etag",
    }
    if options.endpoint is not None:
        config["endpoint"] = options.endpoint
    try:
        return S3Store(
            bucket,
            config=cast("S3Config", config),
            credential_provider=_provider(options),
            client_options={
                "allow_http": (options.endpoint or "").lower().startswith("http:"),
                "connect_timeout": timedelta(seconds=min(options.connect_timeout, options.timeout / 3)),
                # No request takes longer than a third of an operation: see `exlab_store_s3.requests.OperationDeadline`.
                "timeout": timedelta(seconds=options.timeout / 3),
                # Shorter than servers and balancers wait: one that ends meanwhile leaves a write without an answer.
                "pool_idle_timeout": timedelta(seconds=15),
            },
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=options.timeout / 3)},
        )
    except Exception as error:
        reason = read_answer(error).text[:200]
    raise LocationError(f"obstore does not take these options: {reason}")


def _provider(options: S3Options) -> Callable[[], S3Credential] | None:
    """Gives the key of the options; None where obstore is to look for one.

    Not as obstore's options: it would add the session token of the environment, which belongs to another key.
    """
    name, key, token = options.access_key_id, options.secret_access_key, options.session_token
    if name is None or key is None:
        return None

    def credential() -> S3Credential:
        return {
            "access_key_id": name,
            "secret_access_key": key.reveal(),
            "token": None if token is None else token.reveal(),
            "expires_at": None,
        }

    return credential
