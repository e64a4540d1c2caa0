"""Requests about one object each, with a deadline: what a lost answer leaves open is found out by reading."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exlab_store.backend import (
    ABSENT,
    ANY,
    BackendUnavailable,
    DocumentExists,
    InvalidKey,
    Version,
    VersionConflict,
    WriteOutcomeUnknown,
    came_from_signal_handler,
)
from exlab_store_s3.faults import forked_child, is_conflict, is_unknown, read_answer, refusal, unclear

if TYPE_CHECKING:
    from obstore.store import S3Store

    from exlab_store.backend import Expectation
    from exlab_store_s3.faults import S3Answer

__all__ = ["Found", "OperationDeadline", "Requests", "etag_of", "modified_of"]

_MARK: Final = "exlab-store-write"  # x-amz-meta-exlab-store-write
_READ_AGAIN: Final = 0.05
# SeaweedFS refuses a second creation before others can see the first.
_LOOKS: Final = (0.0, 0.005, 0.02, 0.1)


class OperationDeadline:
    """The time of an operation: three requests, as none may take longer than a third of it.

    Args:
        seconds: The option ``timeout``.
    """

    __slots__ = ("_last_start",)

    def __init__(self, seconds: float) -> None:
        self._last_start = time.monotonic() + seconds * 2 / 3

    @property
    def has_room(self) -> bool:
        """Whether one more request may be begun."""
        return time.monotonic() < self._last_start

    def ensure_room(self, action: str) -> None:
        """Ends an operation that takes many requests.

        Args:
            action: What it does, a verb with its object.

        Raises:
            BackendUnavailable: There is no time for another request.
        """
        if not self.has_room:
            raise BackendUnavailable(
                f"cannot {action}: it takes longer than the store's timeout",
                exhausted=True,
                hint="Look at the network and the server, or open the store with a longer `timeout`.",
            )


class Found(NamedTuple):
    """An object.

    Attributes:
        data: Its bytes.
        version: Its ETag, without quotation marks.
    """

    data: bytes
    version: Version


def etag_of(meta: Any) -> Version:
    """The version of an object: its ETag without the quotation marks, which stay on the wire.

    Args:
        meta: What obstore says of the object.
    """
    return Version((meta["e_tag"] or "").strip('"'))


def modified_of(meta: Any) -> float:
    """When an object was written. Whole seconds, as a listing alone has fractions of them.

    Args:
        meta: What obstore says of the object.
    """
    return float(int(meta["last_modified"].timestamp()))


class Requests:
    """The objects of one bucket.

    Args:
        client: obstore's, which repeats nothing: a conditional write that had succeeded would be refused then.
        timeout: Seconds that an operation may take.
        quoted: Whether an ETag is sent in quotation marks, as RFC 9110 has it. Ceph 16.2 matches none of those.
    """

    def __init__(self, client: S3Store, timeout: float, *, quoted: bool = True) -> None:
        self._client = client
        self._process = os.getpid()
        self.timeout = timeout
        self.quoted = quoted

    @property
    def client(self) -> S3Store:
        """The client of obstore.

        Raises:
            NotSupported: This is a forked child of a process that has used S3.
        """
        if self._process != os.getpid():
            raise forked_child()
        return self._client

    def deadline(self) -> OperationDeadline:
        """For an operation that begins now."""
        return OperationDeadline(self.timeout)

    def wire_etag(self, version: Version) -> str:
        """A version as it stands in ``If-Match``.

        Args:
            version: The version.
        """
        return f'"{version}"' if self.quoted else version

    def mode(self, expect: Expectation) -> Any:
        """How obstore is told of a condition.

        Args:
            expect: `ANY`, `ABSENT` or the version that the object must have.
        """
        if expect is ANY:
            return "overwrite"
        return "create" if expect is ABSENT else {"e_tag": self.wire_etag(expect)}

    def get(self, name: str, action: str = "read the document") -> Found | None:
        """Reads an object; None where there is none.

        Args:
            name: The object's name in the bucket.
            action: What it is for.

        Raises:
            StoreError: It cannot be read.
        """
        client = self.client
        try:
            # What else comes along is not asked for: each look takes 5 us, and a read is to cost what obstore's does.
            result = client.get(name)
            return Found(bytes(result.bytes()), etag_of(result.meta))
        except Exception as error:
            self.ensure_missing(error, action)
        return None

    def head(self, name: str, action: str = "look at the document") -> Any | None:
        """What is known of an object; None where there is none.

        Args:
            name: The object's name in the bucket.
            action: What it is for.

        Raises:
            StoreError: It cannot be looked at.
        """
        client = self.client
        try:
            return client.head(name)
        except Exception as error:
            self.ensure_missing(error, action)
        return None

    def has_below(self, name: str) -> bool:
        """Whether there are objects below a name, as in a folder.

        Args:
            name: The name in the bucket.

        Raises:
            StoreError: It cannot be looked at.
        """
        client: Any = self.client  # the types of its listings name pyarrow, which is not installed
        try:
            return any(meta["path"].startswith(f"{name}/") for batch in client.list(f"{name}/") for meta in batch)
        except Exception as error:
            self.ensure_missing(error, "list the folder")
        return False

    def put(self, name: str, data: bytes, expect: Expectation, action: str = "write the document") -> Version:
        """Replaces an object as a whole.

        Args:
            name: The object's name in the bucket.
            data: The bytes.
            expect: `ANY`, `ABSENT` or the version that it must have.
            action: What it is for.

        Raises:
            VersionConflict: Another version is there.
            WriteOutcomeUnknown: The answer was lost, and the object is not as it was written.
            StoreError: Nothing was written.
        """
        mark = os.urandom(8).hex()
        deadline = self.deadline()
        client = self.client
        try:
            # In one request, as its answer decides; metadata tells this write from another one of the same bytes.
            written = client.put(name, data, attributes={_MARK: mark}, mode=self.mode(expect), use_multipart=False)
        except Exception as error:
            if came_from_signal_handler(error):
                raise
            if is_conflict(error):
                return self._refused(name, mark, expect, deadline, error)
            answer = read_answer(error)
            if not is_unknown(answer):
                raise refusal(answer, action, exhausted=not deadline.has_room) from error
            return self._found_out(name, data, mark, deadline, error, answer)
        return etag_of(written)

    def ensure_missing(self, error: Exception, action: str) -> None:
        """Passes over the error of a request that changes nothing, where it says that there is no such object.

        Args:
            error: From obstore.
            action: What the request was for.

        Raises:
            StoreError: It says something else.
        """
        if came_from_signal_handler(error):
            raise error
        answer = read_answer(error)
        if isinstance(error, FileNotFoundError) and answer.code != "NoSuchBucket":
            return
        raise refusal(answer, action, exhausted=answer.kind == "Timeout") from error

    def _refused(
        self, name: str, mark: str, expect: Expectation, deadline: OperationDeadline, error: Exception
    ) -> Version:
        """What came of a write whose condition was not met: 412, or 409 where two have changed the object at once.

        A proxy on the way may have sent the write twice, as nginx does by default where a server breaks off. Then the
        second was refused because of the first, and the object has the mark.
        """
        for pause in _LOOKS if expect is not ANY else ():
            time.sleep(pause)
            deadline.ensure_room("see who has changed the document")
            found, its_mark = self._marked(name)
            if found is not None and its_mark == mark:
                return found
            if expect is ABSENT and found is not None:
                raise DocumentExists(found=found) from error
            if expect is not ABSENT and found is None:
                raise VersionConflict("the document does not exist any more", expected=_version(expect)) from error
            if expect is not ABSENT and found != expect:
                raise VersionConflict(expected=_version(expect), found=found) from error
        # SeaweedFS makes no document of a folder's name, nor of one that is empty and not cleared away yet.
        if expect is ABSENT and self.has_below(name):
            raise InvalidKey(
                "the key names a folder, not a document", hint="Choose another key for the document."
            ) from error
        # It was changed back since, or the other write came to nothing.
        raise BackendUnavailable(
            "others have changed the document, or emptied a folder of its name, at this moment"
        ) from error

    def _marked(self, name: str) -> tuple[Version | None, str | None]:
        """An object's version and the mark of the write that made it; twice None where there is none."""
        client = self.client
        try:
            result = client.get(name, options={"head": True})  # obstore's head() tells no metadata
            return etag_of(result.meta), result.attributes.get(_MARK)
        except Exception as error:
            self.ensure_missing(error, "look at the document")
        return None, None

    def _found_out(
        self, name: str, data: bytes, mark: str, deadline: OperationDeadline, error: Exception, answer: S3Answer
    ) -> Version:
        """The version of a write without an answer, where the object shows that it was made."""
        while deadline.has_room:
            try:
                result = self.client.get(name)
                if result.attributes.get(_MARK) == mark:
                    return etag_of(result.meta)
                break
            except Exception as failure:
                if came_from_signal_handler(failure):
                    raise
                if (read_answer(failure).status or 500) < 500:
                    break  # it is not there, or this account may not look
                time.sleep(_READ_AGAIN)
        raise WriteOutcomeUnknown(
            unclear(answer),
            # The ETag of an object that was written in one request, unless the server encrypts with keys of its own.
            intended=Version(hashlib.md5(data, usedforsecurity=False).hexdigest()),
        ) from error


def _version(expect: Expectation) -> Version | None:
    return None if expect is ANY or expect is ABSENT else expect
