"""The proof that a server keeps the conditions of requests: some ignore them, and answer as if they had not.

Measured: localbucket 1.2 ignores If-Match, nanio 0.1 and s3rver 3.7 every condition, Ceph 16.2 that of a DELETE, and it
matches no ETag in quotation marks.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from exlab_store.backend import (
    ABSENT,
    ANY,
    AccessDenied,
    Version,
    came_from_signal_handler,
    temporary_name,
)
from exlab_store_s3.deleting import delete_if_match
from exlab_store_s3.faults import is_conflict, read_answer, refusal
from exlab_store_s3.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Hashable

    from obstore.store import S3Store

    from exlab_store.backend import Expectation
    from exlab_store_s3.faults import S3Answer

__all__ = ["Conditions", "proved"]

_NEVER: Final = Version("0" * 32)


class Conditions(msgspec.Struct, frozen=True):
    """What was shown of a bucket.

    Attributes:
        writes: The account may write here.
        create: ``If-None-Match: *`` of a PUT is kept.
        match: ``If-Match`` of a PUT is kept.
        quoted: An ETag is sent in quotation marks.
        delete: ``If-Match`` of a DELETE is kept.
    """

    writes: bool = True
    create: bool = False
    match: bool = False
    quoted: bool = True
    delete: bool = False

    @property
    def swaps(self) -> bool:
        """Whether a compare-and-swap can be made, of whatever there is."""
        return self.create and self.match

    def missing(self) -> str | None:
        """What the server does not keep, as a clause; None where it keeps all."""
        if not self.writes:
            return "the account may not write here"
        kept = {
            "If-None-Match of a PUT": self.create,
            "If-Match of a PUT": self.match,
            "If-Match of a DELETE": self.delete,
        }
        ignored = [name for name, is_kept in kept.items() if not is_kept]
        if not ignored:
            return None
        return f"the server does not keep {' and '.join(ignored)}, as Amazon S3 and SeaweedFS do"


_shown: dict[Hashable, Conditions] = {}


def proved(identity: Hashable, client: S3Store, timeout: float, folder: str) -> Conditions:
    """What a bucket keeps, shown once in this process.

    Args:
        identity: Of the server, the bucket and the account.
        client: obstore's.
        timeout: Seconds that an operation may take.
        folder: Where an object may be made: empty, or ends with ``/``.

    Raises:
        StoreError: The bucket cannot be reached, or is not there.
    """
    known = _shown.get(identity)
    if known is not None:
        return known
    found = _shown_by(Requests(client, timeout), folder + temporary_name(".exlab-store-probe"))
    if found.writes:
        _shown[identity] = found
    return found


def _shown_by(requests: Requests, name: str) -> Conditions:
    """Makes an object that nobody else knows, and takes it away again."""
    # First of all, as some servers make a bucket for whoever writes into it. It raises where the account may not read.
    requests.get(name, "read in this bucket")
    try:
        return _tried(requests, name)
    finally:
        with suppress(Exception):  # most servers have deleted it
            requests.client.delete(name)


def _tried(requests: Requests, name: str) -> Conditions:
    first, second = os.urandom(16), os.urandom(16)
    try:
        made = _put(requests, name, first, ABSENT)
        if made == "unsupported":
            _put(requests, name, first, ANY)
    except AccessDenied:
        return Conditions(writes=False)
    create = made == "done" and _put(requests, name, second, ABSENT) == "refused"
    match, quoted = _matches(requests, name, first, second)
    requests.quoted = quoted
    return Conditions(create=create, match=match, quoted=quoted, delete=_deletes(requests, name))


def _matches(requests: Requests, name: str, first: bytes, second: bytes) -> tuple[bool, bool]:
    """Whether If-Match of a PUT is kept, and whether in quotation marks."""
    found = requests.get(name)
    if found is None or not found.version or _put(requests, name, second, _NEVER) != "refused":
        return False, True
    for requests.quoted in (True, False):
        if _put(requests, name, second, found.version) == "done":
            kept = _put(requests, name, first, found.version) == "refused" and _is(requests, name, second)
            return kept, requests.quoted
    return False, True


def _put(requests: Requests, name: str, data: bytes, expect: Expectation) -> Literal["done", "refused", "unsupported"]:
    try:
        requests.client.put(name, data, mode=requests.mode(expect), use_multipart=False)
    except Exception as error:
        if came_from_signal_handler(error):
            raise
        if is_conflict(error):
            return "refused"
        answer = read_answer(error)
        if answer.status in {400, 405, 501} and answer.code != "InvalidBucketName":
            return "unsupported"
        raise refusal(answer, "prove what the server keeps") from error
    return "done"


def _is(requests: Requests, name: str, data: bytes) -> bool:
    found = requests.get(name)
    return found is not None and found.data == data


def _deletes(requests: Requests, name: str) -> bool:
    found = requests.get(name)
    if found is None or _answer_to_delete(requests, name, _NEVER).status != 412 or requests.get(name) is None:
        return False
    answer = _answer_to_delete(requests, name, found.version)
    return answer.status is not None and answer.status < 300 and requests.get(name) is None


def _answer_to_delete(requests: Requests, name: str, version: Version) -> S3Answer:
    answer = delete_if_match(requests, name, version)
    if answer.status is not None and answer.status >= 500 and answer.status != 501:
        raise refusal(answer, "prove what the server keeps")  # a server that is busy has shown nothing
    return answer
