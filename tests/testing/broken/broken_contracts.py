"""Backends that break the contract of the hooks, show a secret or claim less than they do, each in one way."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import msgspec
from flaws import flaw
from reference_files import FileBackend, FlockLock

from exlab_store import (
    ANY,
    DocumentNotFound,
    Expectation,
    HeldLock,
    LockOwner,
    Version,
    hookimpl,
)


@flaw("none-result", caught_by="test_no_hook_returns_none_but_delete")
class ForgetsTheResult(FileBackend):
    """The write happens, and the version does not come back."""

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None):  # type: ignore[no-untyped-def]
        super().atomic_write(key, data, expect, lock)


@flaw("parameter-default", caught_by="test_no_parameter_of_a_hook_has_a_default")
class HasDefaults(FileBackend):
    """pluggy never passes a parameter that has a default: every condition is lost."""

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation = ANY, lock: HeldLock | None = None) -> Version:
        return super().atomic_write(key, data, expect, lock)


@flaw("guarantees-of-another-type", caught_by="test_the_guarantees_are_of_their_type_and_do_not_contradict_each_other")
class GuaranteesInADictionary(FileBackend):
    """Guarantees that look right and cannot be compared."""

    guarantees = msgspec.structs.asdict(FileBackend.guarantees)  # type: ignore[assignment]


@flaw("foreign-exceptions", caught_by="test_a_missing_document_cannot_be_deleted")
class LetsExceptionsOut(FileBackend):
    """The caller gets what the operating system said, as a fault of the plugin."""

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        self.check(key, expect, lock)
        os.unlink(self.path(key))


@flaw("secret-in-repr", caught_by="test_no_repr_shows_a_secret")
class ShowsItsPassword(FileBackend):
    """A repr that lists all attributes."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({vars(self)})"


@flaw("secret-in-error", caught_by="test_no_error_shows_a_secret")
class TellsItsPassword(FileBackend):
    """The message has the whole URL in it."""

    def bytes_of(self, key: str) -> bytes:
        try:
            return super().bytes_of(key)
        except DocumentNotFound as error:
            raise DocumentNotFound(f"not found with user:{self.password}@host") from error


@flaw("unclaimed-listing-works", caught_by="test_a_listing_that_is_not_claimed_is_not_supported")
class ListsInSilence(FileBackend):
    """It is not claimed and works, so that callers come to rely on it."""

    guarantees = msgspec.structs.replace(FileBackend.guarantees, lists=False, watch="none")


@flaw("unclaimed-deletion-does-nothing", caught_by="test_a_deletion_that_is_not_claimed_is_not_supported")
class DeletesNothing(FileBackend):
    """It is not claimed, and says nothing when it is asked for."""

    guarantees = msgspec.structs.replace(FileBackend.guarantees, deletes=False)

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        pass


@flaw("unclaimed-lock-does-nothing", caught_by="test_a_lock_that_is_not_claimed_is_not_supported")
class LocksNothing(FileBackend):
    """It is not claimed, and everybody gets it."""

    guarantees = msgspec.structs.replace(FileBackend.guarantees, lock_scope="none", fenced=False)

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        return FlockLock(key, owner, os.open(self.root, os.O_RDONLY))


_leaked: list[int] = []


@flaw("descriptors-leak", caught_by="test_work_leaves_no_descriptor_open")
class LeaksDescriptors(FileBackend):
    """Each read leaves a file open; after a day's work the process can open no more."""

    def bytes_of(self, key: str) -> bytes:
        data = super().bytes_of(key)
        _leaked.append(os.open(self.path(key), os.O_RDONLY))
        return data


@flaw("secret-in-the-log", caught_by="test_no_log_shows_a_secret")
class LogsItsPassword(FileBackend):
    """The log of a failure has the whole URL in it."""

    def bytes_of(self, key: str) -> bytes:
        try:
            return super().bytes_of(key)
        except DocumentNotFound:
            logging.getLogger("flawed").info("no %s at user:%s@host", key, self.password)
            raise


@flaw("secret-in-a-variable", caught_by="test_no_variable_in_a_traceback_shows_a_secret")
class KeepsItsPasswordInAVariable(FileBackend):
    """It forgets the password after what it does, and a failure comes before that."""

    def bytes_of(self, key: str) -> bytes:
        account = f"user:{self.password}@host"
        data = super().bytes_of(key)
        del account
        return data
