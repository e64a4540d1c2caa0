"""The hooks that a backend implements, and the two markers.

A backend is an object whose methods carry `hookimpl`, with an attribute ``guarantees`` and a method ``close()``.
The core has checked every argument before a hook is called: keys are valid, data is ``bytes``, timeouts are
finite and not negative, an expectation is only passed to a backend that claims ``conditional_write``, a lock only
to one that claims ``fenced``, and with ``conditional_write="locked"`` the document's lock is held whenever an
expectation other than `ANY` is passed. A lock that is passed is the very object that the backend's own ``lock`` or
``lock_and_read`` returned. Hooks are called from several threads at once.

A hook raises the errors of `exlab_store.errors` and fills in nothing but the message, a hint and what the type
asks for: the core adds the key and the location. Anything else that escapes becomes a `PluginError`.

The same holds for the calls of what a hook returns: ``owner``, ``ensure_held`` and ``release`` of a lock, and the steps
of an iterator. A release that fails is logged and raises nothing, as the work under the lock has been done. A lock
belongs to the process that took it: its class derives from `exlab_store.ProcessBound`, or refuses in another way with
`TypeError` to be pickled and copied.
"""

# The implementations' parameter names are compared with these signatures when a backend is registered.

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exlab_store.changes import ChangeSource
    from exlab_store.key_pattern import KeyPattern
    from exlab_store.model import Expectation, FolderItem, HeldLock, Leftover, LockOwner, Snapshot, Stat, Version

__all__ = [
    "OPTIONAL_HOOKS",
    "PROJECT",
    "REQUIRED_HOOKS",
    "atomic_write",
    "delete",
    "hookimpl",
    "hookspec",
    "keep_copy",
    "list_folder",
    "list_keys",
    "list_leftovers",
    "list_matching",
    "lock",
    "lock_and_read",
    "read_snapshot",
    "remove_folder",
    "remove_leftover",
    "stat_document",
    "watch_changes",
    "write_and_release",
]

PROJECT = "exlab_store"
REQUIRED_HOOKS = ("atomic_write", "lock", "read_snapshot")
OPTIONAL_HOOKS = (
    "list_keys",
    "delete",
    "keep_copy",
    "list_leftovers",
    "remove_leftover",
    "lock_and_read",
    "write_and_release",
    "stat_document",
    "list_folder",
    "list_matching",
    "watch_changes",
    "remove_folder",
)

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def atomic_write(key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
    """Replaces a document as a whole, or makes it. Stops at the first non-None result.

    Missing folders are made. A reader sees the old or the new document at every moment. With
    ``guarantees.durable``, the document and every folder that was made survive a power cut once this returns.

    Args:
        key: A valid key.
        data: The whole document; may be empty.
        expect: `ANY`, `ABSENT`, or the version that the stored document must have.
        lock: The lock under which the write happens, or None.

    Returns:
        The version of the document as written.

    Raises:
        VersionConflict: The document is at another version than expected; it is untouched.
        DocumentExists: `ABSENT` was expected.
        LockLost: The lock is not held any more; nothing was written.
        AccessDenied: The storage system refuses the write.
        StorageFull: There is no room.
        BackendUnavailable: Nothing was written, and a repetition may succeed.
        WriteOutcomeUnknown: The write may have happened, or may not be durable.
        InvalidKey: The storage system cannot hold a document of this name.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def lock(key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
    """Takes the exclusive lock of a document, which need not exist. Stops at the first non-None result.

    The core lets the threads of one process pass one at a time for each document. Where the lock needs a folder that is
    missing, call `exlab_store.backend.ensure_folder_wanted` before it is made.

    Args:
        key: A valid key.
        owner: Who asks; to be stored in the lock where that is possible, for the benefit of others who wait.
        timeout: How long to wait, in seconds; 0 tries once.
        cancelled: Asked at least every 50 ms while waiting; True ends the wait with `LockTimeout`.

    Returns:
        The lock, held.

    Raises:
        LockTimeout: Somebody else holds it, or the wait was cancelled; nothing is left behind.
        AccessDenied: This user may not lock the document.
        BackendUnavailable: The lock is not held, and a repetition may succeed.
        DocumentNotFound: From ``ensure_folder_wanted``: no folder was made.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def read_snapshot(key: str) -> Snapshot:
    """Reads a whole document from one state of it, without waiting for writers. Stops at the first non-None result.

    Args:
        key: A valid key.

    Returns:
        The bytes and their version.

    Raises:
        DocumentNotFound: There is none.
        AccessDenied: This user may not read it.
        BackendUnavailable: A repetition may succeed.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def list_keys(prefix: str) -> Iterable[str]:
    """Lists the documents below a folder. Stops at the first non-None result.

    Optional: a backend without it leaves ``guarantees.lists`` at False.

    Args:
        prefix: The folder's key, or empty text for the whole store. A folder that does not exist is empty.

    Returns:
        The keys of the documents, at any depth and in any order; no lock files, no temporary files, no names
        that are not valid keys, and nothing below the prefix that ``location.ignores``: what storage systems keep
        beside documents, such as a recycle bin.

    Raises:
        AccessDenied: This user may not list a folder.
        BackendUnavailable: A repetition may succeed.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def delete(key: str, expect: Expectation, lock: HeldLock | None) -> None:
    """Deletes a document. The only hook whose result is None. Stops at the first non-None result.

    Optional: a backend without it leaves ``guarantees.deletes`` at False. Its lock stays: deleting a lock file
    splits the lock.

    Args:
        key: A valid key.
        expect: `ANY` or the version that the stored document must have.
        lock: The lock under which the deletion happens, or None.

    Raises:
        DocumentNotFound: There is none.
        VersionConflict: The document is at another version; it is untouched.
        LockLost: The lock is not held any more; nothing was deleted.
        AccessDenied: The storage system refuses the deletion.
        BackendUnavailable: Nothing was deleted, and a repetition may succeed.
        WriteOutcomeUnknown: The deletion may have happened, or may not be durable.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def keep_copy(key: str, copy: str, data: bytes) -> bool:
    """Keeps the bytes of a document under a second key. Stops at the first non-None result.

    Optional: for a storage system whose documents have permissions of their own, so that a copy is not open to those
    who may not read the document. Without it, the core writes a copy as any document. What stands at the second key is
    replaced, and the copy is as durable as a document.

    Args:
        key: A valid key, the document's.
        copy: A valid key, the copy's.
        data: The bytes that the document had when it was read.

    Returns:
        Whether there is a copy. None is made of a document that is a link: the file that it points to keeps its bytes,
        and may be anybody's.

    Raises:
        VersionConflict: The document has other bytes by now, or is gone; there is no copy.
        AccessDenied: The storage system refuses the copy.
        StorageFull: There is no room.
        BackendUnavailable: No copy was made, and a repetition may succeed.
        WriteOutcomeUnknown: The copy may have been made, or may not be durable.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def list_leftovers(prefix: str) -> Iterable[Leftover]:
    """Lists the lock files and temporary files below a folder. Stops at the first non-None result.

    Optional, and no guarantee depends on it: for the people who look after a store. Looking must disturb nobody: a
    lock is not taken to find out whether it is free.

    Args:
        prefix: The folder's key, or empty text for the whole store.

    Returns:
        Them, at any depth and in any order; none in a storage system that keeps no such files.

    Raises:
        AccessDenied: This user may not list a folder.
        BackendUnavailable: A repetition may succeed.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def remove_leftover(name: str) -> None:
    """Removes a temporary file. Its result is None. Stops at the first non-None result.

    Optional: beside ``list_leftovers``. A lock file is refused: deleting one splits the lock.

    Args:
        name: As `list_leftovers` has returned it.

    Raises:
        DocumentNotFound: It is gone already.
        InvalidKey: The name is not that of a temporary file.
        AccessDenied: The storage system refuses the deletion.
        BackendUnavailable: A repetition may succeed.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def lock_and_read(
    key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
) -> tuple[HeldLock, Snapshot | None]:
    """Takes the exclusive lock of a document and reads it under that lock. Stops at the first non-None result.

    Optional, and no guarantee depends on it: for a storage system that does both in one exchange. It goes with
    ``write_and_release``. Without the two, the core calls ``lock``, ``read_snapshot``, ``atomic_write`` and the lock's
    own ``release``.

    Args:
        key: A valid key.
        owner: As for `lock`.
        timeout: As for `lock`, in seconds; reading has the time that any read has.
        cancelled: As for `lock`.

    Returns:
        The lock, held, and the document as it was at a moment at which the lock was held already; None for a
        document that does not exist.

    Raises:
        LockTimeout: Somebody else holds the lock, or the wait was cancelled; nothing is left behind.
        AccessDenied: This user may not lock the document, or not read it; the lock is not held.
        BackendUnavailable: The lock is not held, and a repetition may succeed.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def write_and_release(key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
    """Replaces a document as `atomic_write` does, and gives the lock back. Stops at the first non-None result.

    Optional, beside ``lock_and_read``. The lock is given back after the write and never before it. Once this has
    returned, the backend sees to the release, and a release that fails is no error: the write has happened. When
    this raises, the lock may be held or free. In both cases the core calls the lock's ``release``, which does nothing
    where nothing is left to do.

    Args:
        key: A valid key.
        data: The whole document; may be empty.
        expect: As for `atomic_write`.
        lock: The document's lock, from ``lock_and_read``.

    Returns:
        The version of the document as written.

    Raises:
        VersionConflict: The document is at another version than expected; it is untouched, and the lock is held.
        DocumentExists: `ABSENT` was expected; the lock is held.
        LockLost: The lock is not held any more, by whatever cause; nothing was written.
        AccessDenied: The storage system refuses the write.
        StorageFull: There is no room.
        BackendUnavailable: Nothing was written, and a repetition under the lock may succeed.
        WriteOutcomeUnknown: The write may have happened, or may not be durable.
        InvalidKey: The storage system cannot hold a document of this name.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def stat_document(key: str) -> Stat:
    """Says what is known of a document without reading it. Stops at the first non-None result.

    Optional: without it the core reads the document. It sees what ``read_snapshot`` would see at that moment.

    Args:
        key: A valid key.

    Returns:
        Size and time, and the version where it costs nothing; for a key that names a folder, a `Stat` of that kind.

    Raises:
        DocumentNotFound: There is neither a document nor a folder.
        InvalidKey: The storage system has something else under this name, or cannot hold the name.
        AccessDenied: This user may not look at it.
        BackendUnavailable: A repetition may succeed.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def list_folder(key: str, stat: bool) -> Iterable[FolderItem]:
    """Lists the documents and folders directly in a folder. Stops at the first non-None result.

    Optional, for a backend with ``guarantees.lists``: without it the core takes them from all keys below the folder.

    Args:
        key: The folder's key, or empty text for the store itself. A folder that does not exist is empty.
        stat: Whether sizes and times are wanted. They may be given all the same, where they cost nothing.

    Returns:
        The entries in the order of their names; what ``list_keys`` leaves out is not among them. An iterator may do a
        part of the work at each step; a document that goes meanwhile is left out.

    Raises:
        AccessDenied: This user may not list the folder.
        BackendUnavailable: A repetition may succeed.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def list_matching(prefix: str, pattern: KeyPattern) -> Iterable[FolderItem]:
    """Lists the documents and folders below a folder that fit a pattern. Stops at the first non-None result.

    Optional, for a backend with ``guarantees.lists``: for a storage system that can leave folders out in which nothing
    fits, or be asked for some names alone. Without it the core chooses among all keys.

    Args:
        prefix: The folder's key, or empty text for the whole store. A folder that does not exist is empty.
        pattern: Of keys as they are seen from that folder.

    Returns:
        The entries that fit, in any order and each once; what ``list_keys`` leaves out is not among them. A folder is
        found where ``list_folder`` shows it.

    Raises:
        AccessDenied: This user may not list a folder.
        BackendUnavailable: A repetition may succeed.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def watch_changes(prefix: str) -> ChangeSource:
    """Begins to tell where documents below a folder may have changed. Stops at the first non-None result.

    Optional: a backend that has it claims ``guarantees.watch="pushed"``, and lists its keys. Without it, the core lists
    and reads again and again (``polled``). The core calls it again after a lost connection, and looks at everything
    each time, so that nothing need be remembered in between.

    Args:
        prefix: The folder's key, which need not exist; or empty text for the whole store. More may be told.

    Returns:
        A `ChangeSource`, which tells of every change that happens after this has returned.

    Raises:
        NotSupported: It cannot be told at present, as where the system allows no more watches: the core looks by
            itself.
        AccessDenied: This user may not watch a folder.
        BackendUnavailable: A repetition may succeed.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def remove_folder(key: str) -> None:
    """Removes a folder in which there is no document and no folder. Its result is None.

    Optional: without it, `Store.delete_folder` raises `NotSupported`. The lock files and temporary files in the folder
    go with it. A lock file goes only while the backend keeps everybody else from taking its lock, and who has waited
    for it finds out that the file is gone: otherwise two would hold the lock. Stops at the first non-None result.

    Args:
        key: A valid key.

    Raises:
        DocumentNotFound: There is no such folder; in a storage system without folders, nothing is below the key.
        FolderNotEmpty: There is a document, a folder or something that is not the store's; the folder is still there.
        LockTimeout: A lock of a document directly in it is held, or one anywhere below where locks are no files.
        InvalidKey: The key names something else.
        NotSupported: It cannot be done safely in this place.
        AccessDenied: The storage system refuses the deletion.
        BackendUnavailable: The folder is still there, and a repetition may succeed.
        WriteOutcomeUnknown: The folder may be gone, or may come back after a power cut.
    """
    raise NotImplementedError
