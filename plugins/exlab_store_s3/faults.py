"""The errors of obstore, and what each says of the request: refused, not sent, or nobody knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from exlab_store.backend import (
    AccessDenied,
    BackendUnavailable,
    InvalidKey,
    LocationError,
    NotSupported,
    StorageFull,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["S3Answer", "forked_child", "is_conflict", "is_unknown", "read_answer", "refusal", "unclear"]

_STATUS: Final = re.compile(r"(?:status code:|HTTP) (\d{3})\b")
# What obstore says of a connection stands in the second part of its message alone, as Rust shows an error.
_KIND: Final = re.compile(r"HttpError \{\s*kind: (\w+)")
_DETAILS: Final = "Debug source:"
# What names the document, which may be called "certificate" or "HTTP 500". The address that gives keys is no document.
_NAMES: Final = re.compile(
    r"""\A.*?(?=Error performing )|\bpath: ".*"|<(?:Key|Resource)>[^<]*"""
    r"""|(https?://[^/\s]+)/(?!latest/(?:api/token|meta-data))\S+"""
)
_CODE: Final = re.compile(r"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>")
# object_store gives no status with these, but a class of its own.
_STATUS_OF: Final = {"PermissionDeniedError": 403, "UnauthenticatedError": 401, "FileNotFoundError": 404}
# Of Amazon: the request was turned away before anything was done.
_BUSY: Final = frozenset({"SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "Throttling", "TooManyRequests"})
_FULL: Final = frozenset({"InsufficientStorage", "QuotaExceeded", "StorageFull", "XMinioStorageFull", "EntityTooLarge"})
_KEYS: Final = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired"}
)
_NO_ROOM: Final = re.compile(r"no (?:free|writable) volumes|no space left|disk (?:is )?full")
_REDIRECT: Final = "received redirect"
_METADATA: Final = re.compile(r"169\.254\.(?:169\.254|170\.2)|latest/api/token|security-credentials")


class S3Answer(NamedTuple):
    """What is known of a request that failed.

    Attributes:
        status: The HTTP status; None where no answer came.
        code: S3's own word for it, or empty text.
        kind: Where no answer came: ``Connect``, ``Timeout`` or another word of obstore's; otherwise empty text.
        text: What obstore says, in lower case.
    """

    status: int | None
    code: str
    kind: str
    text: str


def read_answer(error: BaseException) -> S3Answer:
    """What an error of obstore tells.

    Args:
        error: The error.
    """
    text = _NAMES.sub(r"\1", str(error))
    said = text.partition(_DETAILS)[0]
    status, code, kind = _STATUS.search(said), _CODE.search(said), _KIND.search(text)
    number = int(status[1]) if status else _STATUS_OF.get(type(error).__name__)
    return S3Answer(number, code[1] if code else "", kind[1] if kind else "", text.lower())


def is_conflict(error: BaseException) -> bool:
    """Whether the condition of a write was not met: 412, or 409 where others change the object at the same moment.

    Args:
        error: From obstore.
    """
    return type(error).__name__ in {"AlreadyExistsError", "PreconditionError"}


def is_unknown(answer: S3Answer) -> bool:
    """Whether a change may have been made all the same.

    Args:
        answer: To the request for it.
    """
    if answer.status is None:
        return answer.kind != "Connect" and _REDIRECT not in answer.text
    refused = answer.status in {501, 507} or answer.code in _BUSY or _is_full(answer)
    return answer.status >= 500 and not refused


def unclear(answer: S3Answer) -> str:
    """Why nobody knows whether a change was made, as a clause.

    Args:
        answer: To the request for it.
    """
    if answer.status is None:
        return _silence(answer)
    return f"the server answered {answer.status} {answer.code}".rstrip()


def refusal(answer: S3Answer, action: str, *, exhausted: bool = False) -> StoreError:
    """The error for a request that did nothing.

    Args:
        answer: To the request.
        action: What it was for, a verb with its object: "read the document".
        exhausted: There is no time left to try again.
    """
    for matches, made in _MEANINGS:
        if matches(answer):
            return made(f"cannot {action}", answer)
    reason = f"the server answers {answer.status} {answer.code}".rstrip() if answer.status else _silence(answer)
    return BackendUnavailable(
        f"cannot {action}: {reason}", exhausted=exhausted, hint="Look at the server and at the network on the way."
    )


def forked_child() -> StoreError:
    """The error for a request that a forked child asks for: nobody would send it, and it would never come back."""
    return NotSupported(
        "a process that was forked from one that uses S3 cannot use it",
        hint="Start processes with multiprocessing's spawn or forkserver, or as programs of their own.",
    )


def _is_full(answer: S3Answer) -> bool:
    return answer.status == 507 or answer.code in _FULL or _NO_ROOM.search(answer.text) is not None


def _silence(answer: S3Answer) -> str:
    """Why no answer came."""
    if answer.kind == "Connect":
        return next((reason for word, reason in _CONNECTIONS if word in answer.text), "no connection can be made")
    return "the server does not answer in time" if answer.kind == "Timeout" else "the connection broke off"


_CONNECTIONS: Final = (
    ("dns error", "the server's name is not known"),
    ("connectionrefused", "the server refuses the connection"),
    ("unreachable", "there is no way to the server"),
    ("invalidcontenttype", "the server does not speak TLS: it may be an endpoint of http:"),
)


def _no_keys(action: str, _: S3Answer) -> StoreError:
    return AccessDenied(
        f"{action}: there is no key, and this machine has no role that gives one",
        hint="Give access_key_id and secret_access_key, a profile, or AWS_ACCESS_KEY_ID in the environment.",
    )


def _untrusted(action: str, _: S3Answer) -> StoreError:
    return BackendUnavailable(
        f"{action}: the server's certificate is not trusted, or is another server's",
        exhausted=True,
        hint="Put the certificate of the authority that signed it into a file, and its path into SSL_CERT_FILE.",
    )


def _wrong_keys(action: str, answer: S3Answer) -> StoreError:
    ended = answer.code in {"ExpiredToken", "TokenRefreshRequired"}
    return AccessDenied(
        f"{action}: the key has ended" if ended else f"{action}: the server does not accept the key ({answer.code})",
        hint="Get a new one." if ended else "Check access_key_id and secret_access_key, and which server they are for.",
    )


def _wrong_clock(action: str, _: S3Answer) -> StoreError:
    return AccessDenied(f"{action}: the clock of this machine is wrong", hint="Set it: S3 allows 15 minutes.")


def _wrong_region(action: str, _: S3Answer) -> StoreError:
    return LocationError(f"{action}: the bucket is in another region", hint="Give the option region.")


_MEANINGS: Final[tuple[tuple[Callable[[S3Answer], bool], Callable[[str, S3Answer], StoreError]], ...]] = (
    (lambda answer: _METADATA.search(answer.text) is not None, _no_keys),
    (lambda answer: answer.kind == "Connect" and "certificate" in answer.text, _untrusted),
    (_is_full, lambda action, _: StorageFull(f"{action}: the storage is full, or the account's quota is used up")),
    (lambda answer: answer.code in _KEYS, _wrong_keys),
    (lambda answer: answer.code == "RequestTimeTooSkewed", _wrong_clock),
    (
        lambda answer: answer.code in {"NoSuchBucket", "InvalidBucketName"},
        lambda action, _: LocationError(f"{action}: there is no such bucket", hint="Make it first, or check its name."),
    ),
    (lambda answer: answer.code in {"PermanentRedirect", "AuthorizationHeaderMalformed"}, _wrong_region),
    (lambda answer: answer.status in {301, 307} or _REDIRECT in answer.text, _wrong_region),
    (
        lambda answer: answer.code == "KeyTooLongError",
        lambda action, _: InvalidKey(f"{action}: the key is too long for S3, with the folder of the store before it"),
    ),
    (
        lambda answer: answer.status in {401, 403},
        lambda action, answer: AccessDenied(
            f"{action}: the server refuses it ({answer.code or answer.status})",
            hint="Let the account read, write, delete and list below this folder of the bucket.",
        ),
    ),
    (
        lambda answer: answer.status == 501,
        lambda action, _: NotSupported(f"{action}: the server does not know this request"),
    ),
)
