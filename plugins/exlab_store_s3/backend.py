"""The hooks of the S3 backend: each document is an object, and its version is its ETag."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from exlab_store.backend import (
    ANY,
    DocumentNotFound,
    Expectation,
    FolderItem,
    Guarantees,
    HeldLock,
    InvalidKey,
    Leftover,
    Location,
    LocationError,
    LockOwner,
    NotSupported,
    Snapshot,
    Stat,
    Version,
    hookimpl,
    is_temporary_name,
    without_variables,
)
from exlab_store_s3.client import client_of
from exlab_store_s3.conditions import Conditions, proved
from exlab_store_s3.deleting import ObjectDeleter
from exlab_store_s3.listing import BucketListing
from exlab_store_s3.locking import take_lock
from exlab_store_s3.options import S3Options, options_of
from exlab_store_s3.removing import LockObjectRemover
from exlab_store_s3.requests import Requests, etag_of, modified_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["S3Backend", "open_backend"]


@without_variables
def open_backend(location: Location, options: Mapping[str, object]) -> S3Backend:
    """Opens a bucket, or a folder of one, and proves what its server keeps.

    Args:
        location: ``s3://[key id[:key]@]bucket[/folder]``. The bucket must exist; a folder need not, as S3 has none.
        options: The fields of `S3Options`.

    Raises:
        LocationError: There is no bucket in it, or it does not exist; or an option is not known or wrong.
        AccessDenied: The server does not accept the key, or the account may not even read.
        BackendUnavailable: The server cannot be reached.
        NotSupported: This is a forked child of a process that has used S3.
    """
    if not location.host:
        raise LocationError("an S3 location names a bucket", hint="Write s3://bucket/folder.")
    if location.port is not None:
        raise LocationError(
            "an S3 location names a bucket, which has no port",
            hint="Write s3://bucket/folder, and give the server as endpoint='https://host:port'.",
        )
    if {".", ".."} & set(location.path.split("/")):
        raise LocationError("the path has '.' or '..' in it", hint="Write it without.")
    chosen = options_of(location, options)
    folder = f"{location.path.strip('/')}/" if location.path.strip("/") else ""
    client = client_of(location.host, chosen)
    # With the keys, as an account that is not let in is to be told so here, whoever was let in before.
    identity = (location.host, chosen, os.environ.get("AWS_ACCESS_KEY_ID"))
    conditions = proved(identity, client, chosen.timeout, folder)
    requests = Requests(client, chosen.timeout, quoted=conditions.quoted)
    return S3Backend(requests, folder, chosen, conditions, location.ignores)


def _guarantees(options: S3Options, conditions: Conditions) -> Guarantees:
    swaps = conditions.swaps
    return Guarantees(
        atomic_replace=True,
        durable=options.durable and conditions.writes,
        conditional_write="native" if swaps else "none",
        lock_scope="site" if swaps else "none",
        lock_release="lease" if swaps else "explicit",
        # S3 looks at one object at a time: it cannot refuse a document because of its lock object.
        fenced=False,
        lists=True,
        deletes=True,
        fresh="always",
    )


def _unclaimed(options: S3Options, conditions: Conditions) -> dict[str, str]:
    """Why no more is claimed."""
    reasons = {"fenced": "S3 looks at one object at a time, and update() writes on a condition instead"}
    missing = conditions.missing()
    if missing is not None and not conditions.swaps:
        reasons["conditional_write"] = reasons["lock_scope"] = missing
    if not options.durable:
        reasons["durable"] = "S3 does not tell whether a document is on the disks; the option durable vouches for it"
    return reasons


class S3Backend:
    """Documents as objects below a folder of a bucket.

    Args:
        requests: The bucket.
        folder: What is put before each key: empty, or ends with ``/``.
        options: Of the location.
        conditions: What was shown of the server.
        ignores: Tells which names are ignored.
    """

    def __init__(
        self,
        requests: Requests,
        folder: str,
        options: S3Options,
        conditions: Conditions,
        ignores: Callable[[str], bool],
    ) -> None:
        self.guarantees = _guarantees(options, conditions)
        self.unclaimed = _unclaimed(options, conditions)
        self._requests = requests
        self._folder = folder
        self._lease = options.lease
        self._listing = BucketListing(requests, folder, ignores)
        self._deleter = ObjectDeleter(requests, conditional=conditions.delete)
        self._remover = LockObjectRemover(requests, self._listing, self._deleter, conditional=conditions.delete)

    def close(self) -> None:
        """Does nothing: connections that nobody uses end by themselves, and a lock is its holder's to release."""

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        """One GET."""
        found = self._requests.get(self._folder + key)
        if found is None:
            raise DocumentNotFound("there is no such document")
        return Snapshot(found.data, found.version)

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:  # noqa: ARG002
        """One PUT, with the condition in it."""
        return self._requests.put(self._folder + key, data, expect)

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:  # noqa: ARG002
        """HEAD and DELETE, as a DELETE alone does not tell whether there was anything."""
        self._deleter.delete(self._folder + key, expect)

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        """Takes the lease; see `exlab_store_s3.locking`."""
        if self.guarantees.lock_scope == "none":
            raise NotSupported("there are no locks here")  # the core says why, from `unclaimed`
        return take_lock(self._requests, self._folder + key, key, owner, self._lease, timeout, cancelled)

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        """A thousand objects with each request."""
        return self._listing.keys(prefix)

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        """One HEAD; a second request where there is no document."""
        meta = self._requests.head(self._folder + key)
        if meta is not None:
            return Stat(meta["size"], modified_of(meta), etag_of(meta))
        if self._requests.has_below(self._folder + key):
            return Stat(0, kind="folder")
        raise DocumentNotFound("there is no such document")

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> Iterable[FolderItem]:  # noqa: ARG002  # sizes and times come along
        """A listing with a delimiter."""
        return self._listing.items(key)

    @hookimpl
    def remove_folder(self, key: str) -> None:
        """A folder goes with its last object: the lock objects are deleted while nobody holds them."""
        self._remover.remove(key, self._folder + key)

    @hookimpl
    def list_leftovers(self, prefix: str) -> list[Leftover]:
        """Lock objects: a GET for each."""
        return list(self._listing.leftovers(prefix))

    @hookimpl
    def remove_leftover(self, name: str) -> None:
        """Removes what a proof at opening has left that was killed."""
        if not is_temporary_name(name.rpartition("/")[2]) or {".", ".."} & set(name.split("/")):
            raise InvalidKey(
                "this is not a temporary file", hint="Documents and lock objects are not removed this way."
            )
        ObjectDeleter(self._requests, conditional=False).delete(self._folder + name, ANY)
