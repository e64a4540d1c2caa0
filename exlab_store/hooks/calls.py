"""The typed face of one store's hooks: one backend, the observers that were asked for, nothing else.

pluggy lets a None result fall through to nothing. It is refused here.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from exlab_store.errors import PluginError, StoreError
from exlab_store.first_imports import import_whole
from exlab_store.hooks.acceptance import checked_guarantees, effective, reasons_of
from exlab_store.hooks.backend_lock import BackendLock
from exlab_store.hooks.backend_source import BackendSource
from exlab_store.hooks.plugin_faults import escaped, shown
from exlab_store.hooks.registering import hooks_of, is_implemented, name_of
from exlab_store.model import FolderItem, Snapshot, Stat
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pluggy

    from exlab_store.guarantees import Guarantees
    from exlab_store.key_pattern import KeyPattern
    from exlab_store.model import Expectation, HeldLock, Leftover, LockOwner, Version
    from exlab_store.secret import Secret

__all__ = ["Backend", "BackendHooks"]

_AT_A_TIME = 256  # entries of a folder
_COMBINED = {"lock_and_read": ("lock", "read_snapshot"), "write_and_release": ("atomic_write",)}
"""The hooks that do what several others do, with those others."""


class Backend(Protocol):
    """What every backend has beside its hooks."""

    # It may also have `unclaimed`, a mapping from names of guarantees to reasons: see docs/how-to/write-a-backend.md.

    @property
    def guarantees(self) -> Guarantees:
        """What the backend promises; constant while it is open."""
        ...

    def close(self) -> None:
        """Gives back connections and other resources. A second call does nothing."""
        ...


class BackendHooks:
    """Calls the hooks of one backend, with types, and lets only a `StoreError` out.

    Args:
        backend: An object with hooks, ``guarantees`` and ``close()``.
        observers: Objects with wrappers around hooks (``hookimpl(wrapper=True)``); the first is the outermost.
        secrets: What must not be in the text of an error.
        url_of: Gives the URL of a document from its key, for the log.

    Raises:
        PluginError: The backend or an observer breaks the contract; the message says how.
    """

    def __init__(
        self,
        backend: Backend,
        observers: Sequence[object] = (),
        secrets: Sequence[Secret] = (),
        url_of: Callable[[str], str] = str,
    ) -> None:
        self._secrets = tuple(secrets)
        self._url_of = url_of
        self._name = name_of(backend)
        self.guarantees = effective(checked_guarantees(backend, self._name))
        self.unclaimed = reasons_of(backend, self._name)
        """Why a guarantee is not claimed, and what would give it, where the backend says so."""
        if not callable(getattr(backend, "close", None)):
            raise PluginError(f"the backend {self._name} has no close()")
        self._close = backend.close
        hook = hooks_of(backend, observers, self.guarantees)
        self._read_snapshot = _call(hook.read_snapshot)
        self._atomic_write = _call(hook.atomic_write)
        self._lock = _call(hook.lock)
        self._list_keys = _call(hook.list_keys)
        self._delete = _call(hook.delete)
        self._keep_copy = _call(hook.keep_copy)
        self._list_leftovers = _call(hook.list_leftovers)
        self._remove_leftover = _call(hook.remove_leftover)
        self._lock_and_read = _call(hook.lock_and_read)
        self._write_and_release = _call(hook.write_and_release)
        self._stat_document = _call(hook.stat_document)
        self._list_folder = _call(hook.list_folder)
        self._list_matching = _call(hook.list_matching)
        self._remove_folder = _call(hook.remove_folder)
        self.removes_folders = is_implemented(hook.remove_folder)
        self.stats = is_implemented(hook.stat_document)
        self.lists_folders = self.guarantees.lists and is_implemented(hook.list_folder)
        self.matches = self.guarantees.lists and is_implemented(hook.list_matching)
        self._watch_changes = _call(hook.watch_changes)
        self.keeps_copies = is_implemented(hook.keep_copy)
        self.shows_leftovers = is_implemented(hook.list_leftovers) and is_implemented(hook.remove_leftover)
        self.combines = all(is_implemented(getattr(hook, name)) and _all_see(hook, name) for name in _COMBINED)
        """Whether ``lock_and_read`` and ``write_and_release`` may be called."""

    def close(self) -> None:
        """Closes the backend.

        Raises:
            StoreError: The backend could not be closed.
        """
        try:
            self._close()
        except Exception as error:
            self.escaped("close", error)

    def read_snapshot(self, key: str) -> Snapshot:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            snapshot = self._read_snapshot(key=key)
        except Exception as error:
            self.escaped("read_snapshot", error)
        if type(snapshot) is not Snapshot:
            self.wrong_result("read_snapshot", "a Snapshot", snapshot)
        return snapshot

    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            version = self._atomic_write(
                key=key, data=data, expect=expect, lock=None if lock is None else _returned(lock)
            )
        except Exception as error:
            self.escaped("atomic_write", error)
        if not isinstance(version, str):
            self.wrong_result("atomic_write", "a Version", version)
        return version  # type: ignore[return-value]  # a Version is a str at run time

    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> BackendLock:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            held = self._lock(key=key, owner=owner, timeout=timeout, cancelled=cancelled)
        except Exception as error:
            self.escaped("lock", error)
        if held is None:  # checking a Protocol costs more than taking the lock
            self.wrong_result("lock", "a HeldLock", held)
        try:
            return BackendLock(self, key, held)
        except BaseException:  # of a signal handler
            held.release()
            raise

    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[BackendLock, Snapshot | None]:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            result = self._lock_and_read(key=key, owner=owner, timeout=timeout, cancelled=cancelled)
        except Exception as error:
            self.escaped("lock_and_read", error)
        try:
            inner, snapshot = result
        except (TypeError, ValueError):
            self.wrong_result("lock_and_read", "a tuple of a HeldLock and a Snapshot or None", result)
        if inner is None:
            self.wrong_result("lock_and_read", "a HeldLock", inner)
        try:
            held = BackendLock(self, key, inner)
            if snapshot is not None and type(snapshot) is not Snapshot:
                self.wrong_result("lock_and_read", "a Snapshot or None beside the lock", snapshot)
        except BaseException:  # nobody else would release it
            BackendLock(self, key, inner).release()
            raise
        return held, snapshot

    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            version = self._write_and_release(key=key, data=data, expect=expect, lock=_returned(lock))
        except Exception as error:
            self.escaped("write_and_release", error)
        if not isinstance(version, str):
            self.wrong_result("write_and_release", "a Version", version)
        return version  # type: ignore[return-value]  # a Version is a str at run time

    def list_keys(self, prefix: str) -> list[str]:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            keys = self._list_keys(prefix=prefix)
            found = None if keys is None else list(keys)  # an iterator may fail on the way
        except Exception as error:
            self.escaped("list_keys", error)
        if found is None:
            self.wrong_result("list_keys", "an iterable of keys", keys)
        return found

    def stat_document(self, key: str) -> Stat:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            found = self._stat_document(key=key)
        except Exception as error:
            self.escaped("stat_document", error)
        if type(found) is not Stat:
            self.wrong_result("stat_document", "a Stat", found)
        return found

    def list_folder(self, key: str, stat: bool) -> Iterator[list[FolderItem]]:
        """Calls the hook of this name, and takes a few entries at a time from its result, the first one alone."""
        count = 1
        try:
            entries: Iterator[FolderItem] = iter(self._list_folder(key=key, stat=stat))
        except Exception as error:
            self.escaped("list_folder", error)
        while True:
            try:
                batch = list(islice(entries, count))
            except Exception as error:
                self.escaped("list_folder", error)
            self._ensure_entries("list_folder", batch)
            if not batch:
                return
            yield batch
            count = min(2 * count, _AT_A_TIME)

    def list_matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            found = list(self._list_matching(prefix=prefix, pattern=pattern))
        except Exception as error:
            self.escaped("list_matching", error)
        self._ensure_entries("list_matching", found)
        return found

    def _ensure_entries(self, hook_name: str, entries: list[Any]) -> None:
        for kind in set(map(type, entries)) - {FolderItem}:
            self.wrong_result(hook_name, "entries of the type FolderItem", next(e for e in entries if type(e) is kind))

    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            self._delete(key=key, expect=expect, lock=_returned(lock))
        except Exception as error:
            self.escaped("delete", error)

    def remove_folder(self, key: str) -> None:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            self._remove_folder(key=key)
        except Exception as error:
            self.escaped("remove_folder", error)

    def keep_copy(self, key: str, copy: str, data: bytes) -> bool:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            kept = self._keep_copy(key=key, copy=copy, data=data)
        except Exception as error:
            self.escaped("keep_copy", error)
        if type(kept) is not bool:
            self.wrong_result("keep_copy", "True or False", kept)
        return kept

    def list_leftovers(self, prefix: str) -> list[Leftover]:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            found: list[Leftover] = list(self._list_leftovers(prefix=prefix) or ())
        except Exception as error:
            self.escaped("list_leftovers", error)
        return found

    def remove_leftover(self, name: str) -> None:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            self._remove_leftover(name=name)
        except Exception as error:
            self.escaped("remove_leftover", error)

    def watch_changes(self, prefix: str) -> BackendSource:
        """Calls the hook of this name; see `exlab_store.hookspecs`."""
        try:
            source = self._watch_changes(prefix=prefix)
        except Exception as error:
            self.escaped("watch_changes", error)
        if source is None:
            self.wrong_result("watch_changes", "a ChangeSource", source)
        return BackendSource(self, source)

    def escaped(self, hook_name: str, error: Exception) -> NoReturn:
        """Raises what a hook, or a call of its result, has let escape: always as a `StoreError`.

        Args:
            hook_name: What was called.
            error: What it raised.
        """
        if isinstance(error, StoreError) or came_from_signal_handler(error):
            try:
                raise error
            finally:
                del error  # in a circle with this frame, it and all that it refers to would be freed late
        if isinstance(error, MemoryError):
            raise StoreError(
                "there is not enough memory for the document", hint="Documents are small: look at what is there."
            ) from error
        what = f"{hook_name} of the backend {self._name}, or an observer of it, raised {type(error).__name__}"
        hint = "This is a fault in the plugin: report it to its author."
        refusal, cause = escaped(what, error, self._secrets, hint=hint), shown(error, self._secrets)
        del error  # a traceback would show this variable
        try:
            raise refusal from cause
        finally:
            refusal.__context__ = cause  # what is not shown is not kept either

    def log_failed_release(self, key: str, failure: StoreError) -> None:
        """Logs that a lock could not be released, as the work under it is done and has not failed.

        Args:
            key: The locked document.
            failure: What the backend said.
        """
        import_whole("logging")  # 10 ms to import
        import logging

        text = failure.message
        for secret in self._secrets:
            text = text.replace(secret.reveal(), "***")
        message = "the lock of %s could not be released, and may be held until this process ends: %s: %s"
        logging.getLogger("exlab_store").warning(message, self._url_of(key), type(failure).__name__, text)

    def wrong_result(self, hook_name: str, expected: str, result: object) -> NoReturn:
        """Raises the error for a result of another type.

        Args:
            hook_name: What was called.
            expected: What it should have returned.
            result: What it has returned.
        """
        raise PluginError(
            f"{hook_name} of the backend {self._name} returned {type(result).__name__} instead of {expected}",
            hint="The backend, or an observer that does not return the result of its yield, is at fault.",
        )


def _returned(lock: HeldLock | None) -> HeldLock | None:
    """The very object that the backend has returned."""
    return lock.inner if isinstance(lock, BackendLock) else lock


def _all_see(hook: Any, combined: str) -> bool:
    """Whether everybody who watches a hook also watches the one that does its work with others.

    An observer that knows only the single hooks would miss a write, and a plan of faults would not happen.
    """
    watching = {id(found.plugin) for found in getattr(hook, combined).get_hookimpls() if found.wrapper}
    return all(
        id(found.plugin) in watching
        for single in _COMBINED[combined]
        for found in getattr(hook, single).get_hookimpls()
        if found.wrapper
    )


def _call(caller: pluggy.HookCaller) -> Callable[..., Any]:
    """What calls a hook: pluggy, or, where that would call one implementation and nothing else, the implementation.

    Nobody can register anything later, as the manager belongs to this module. The detour through pluggy takes 1.7 us,
    and 12 us of a durable write of 2 KiB (3 %), whose caches are cold after the wait for the disk.
    """
    implementations = caller.get_hookimpls()
    if len(implementations) == 1 and not implementations[0].wrapper:
        return implementations[0].function
    return caller
