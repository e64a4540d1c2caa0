"""Deletion on a condition: ``DELETE`` with ``If-Match``, which obstore does not have.

obstore signs the request, with whatever credentials it has, as the URL of a link. Headers that do not begin with
``x-amz-`` need not be signed, so the condition is added to it. [S3 API, DeleteObject; Signature Version 4]
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from exlab_store.backend import (
    ANY,
    BackendUnavailable,
    DocumentNotFound,
    Latch,
    NotSupported,
    StoreError,
    VersionConflict,
    WriteOutcomeUnknown,
    came_from_signal_handler,
    import_whole,
    start_thread,
    without_variables,
)
from exlab_store_s3.faults import S3Answer, is_unknown, read_answer, refusal, unclear
from exlab_store_s3.requests import etag_of

if TYPE_CHECKING:
    from exlab_store.backend import Expectation, Version
    from exlab_store_s3.requests import OperationDeadline, Requests

__all__ = ["ObjectDeleter", "delete_if_match"]

_ACTION: Final = "delete the document"
_LONGEST_ANSWER: Final = 64 << 10
_PAUSE: Final = 0.05


def delete_if_match(requests: Requests, name: str, version: Version) -> S3Answer:
    """Deletes an object that has a version.

    Args:
        requests: The bucket.
        name: The object's name in the bucket.
        version: Its ETag.

    Returns:
        The server's answer; its status is None where none came.
    """
    seconds = requests.timeout / 3
    try:
        status, body = _sent(requests, name, requests.wire_etag(version), seconds)
    except Exception as error:
        if came_from_signal_handler(error):
            raise
        unsent = isinstance(error, (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError))
        return S3Answer(None, "", "Connect" if unsent else "Request", f"{type(error).__name__} {error}".lower())
    return read_answer(Exception(f"HTTP {status} {body.decode(errors='replace')}"))


@without_variables
def _sent(requests: Requests, name: str, etag: str, seconds: float) -> tuple[int, bytes]:
    import_whole("obstore")
    import obstore

    # The link is as good as a password while it lasts.
    link = urlsplit(obstore.sign(requests.client, "DELETE", name, timedelta(seconds=60 + seconds)))
    secure = link.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(link.hostname or "", link.port, timeout=seconds)
    # The connection's own timeout is that of each part of an answer.
    answered = Latch()

    def end() -> None:
        if not answered.wait(seconds):
            _shut(connection)

    start_thread(threading.Thread(target=end, name="exlab-store-s3", daemon=True))
    try:
        connection.request("DELETE", f"{link.path}?{link.query}", headers={"If-Match": etag})
        answer = connection.getresponse()
        return answer.status, answer.read(_LONGEST_ANSWER)
    finally:
        answered.open()
        connection.close()


def _shut(connection: http.client.HTTPConnection) -> None:
    with suppress(OSError, AttributeError):  # it may have ended by itself
        connection.sock.shutdown(socket.SHUT_RDWR)


class ObjectDeleter:
    """Deletes documents.

    Args:
        requests: The bucket.
        conditional: Whether the server was shown to keep the condition of a deletion.
    """

    def __init__(self, requests: Requests, *, conditional: bool) -> None:
        self._requests = requests
        self._conditional = conditional

    def delete(self, name: str, expect: Expectation, deadline: OperationDeadline | None = None) -> None:
        """Deletes one, and tells whether it was there.

        Args:
            name: The object's name in the bucket.
            expect: `ANY`, or the version that it must have.
            deadline: Of the operation that this is a part of; None for one of its own.

        Raises:
            NotSupported: There is a condition, and the server does not keep it.
            DocumentNotFound: It is not there.
            VersionConflict: It has another version.
            WriteOutcomeUnknown: The answer was lost.
            StoreError: It is still there.
        """
        if expect is not ANY and not self._conditional:
            raise NotSupported(
                "this server deletes whatever the condition is",
                hint="Delete without expect=, or use a server that keeps If-Match of a DELETE.",
            )
        deadline = deadline or self._requests.deadline()
        while True:
            deadline.ensure_room(_ACTION)
            meta = self._requests.head(name, _ACTION)
            if meta is None:
                raise DocumentNotFound("there is no such document")
            found = etag_of(meta)
            if expect is not ANY and found != expect:
                raise VersionConflict(expected=expect, found=found)  # type: ignore[arg-type]  # ABSENT is not passed
            deadline.ensure_room(_ACTION)
            if not self._conditional:
                self._delete_any(name, deadline)
                return
            answer = delete_if_match(self._requests, name, found)
            if answer.status is not None and answer.status < 300:
                return
            if answer.status in {404, 409, 412} and answer.code != "NoSuchBucket":
                continue  # somebody has changed it since
            if not is_unknown(answer):
                raise refusal(answer, _ACTION)
            self._find_out(name, expect, deadline, answer)
            return

    def _delete_any(self, name: str, deadline: OperationDeadline) -> None:
        try:
            self._requests.client.delete(name)
        except Exception as error:
            if came_from_signal_handler(error):
                raise
            answer = read_answer(error)
            if not is_unknown(answer):
                raise refusal(answer, _ACTION) from error
            self._find_out(name, ANY, deadline, answer)

    def _find_out(self, name: str, expect: Expectation, deadline: OperationDeadline, answer: S3Answer) -> None:
        """Whether a deletion without an answer happened: it is gone, and nobody asks by whom it had to be deleted."""
        while expect is ANY and deadline.has_room:
            try:
                if self._requests.head(name, _ACTION) is None:
                    return
            except BackendUnavailable:
                time.sleep(_PAUSE)
                continue
            except StoreError:
                break  # this account may not look
            break
        raise WriteOutcomeUnknown(unclear(answer), intended=None)
