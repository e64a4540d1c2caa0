"""The probes of free room and of leftovers."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store.clients.client import NoAnswer
from exlab_store.doctor.findings import ProbeResult, failed, not_applicable, passed, warned
from exlab_store.doctor.folder import FOLDER
from exlab_store.errors import AccessDenied, NotSupported, StorageFull
from exlab_store.keys import is_key, lock_key, temporary_writer

if TYPE_CHECKING:
    from exlab_store.doctor.visit import Visit
    from exlab_store.model import Leftover

__all__ = ["leftovers", "space"]

_LITTLE = 100 << 20
_FEW = 1000
_DAY = 86400.0
_PATIENCE = 10.0

_TIMES = 12


def space(visit: Visit) -> ProbeResult:
    """Writes a megabyte, and asks the system where the place has a path.

    Args:
        visit: The clients.
    """
    advice = "Free some room, or raise the quota of the account; until then nothing can be written."
    try:
        visit.first.ask("write", key=visit.key("space.bin"), data=bytes(1 << 20))
    except StorageFull as error:
        return failed(f"a write of 1 MiB was refused: {error.message}", advice)
    except AccessDenied:
        return not_applicable("the account may not write here")
    room: tuple[int, int, int, int] | None = None if visit.bypass(0) is not None else visit.first.ask("room")
    if room is None:
        return passed("there is room for 1 MiB; how much more, the server does not say this way")
    free, size, free_files, files = room
    text = f"{free / 1e9:.1f} GB of {size / 1e9:.1f} GB are free"
    if files > 0 and free_files < _FEW:
        return warned(f"{text}, and room for {free_files} files", "Free some room soon.")
    if free < _LITTLE:
        return warned(text, "Free some room soon.")
    return passed(text)


def leftovers(visit: Visit) -> ProbeResult:
    """Looks for files that are no documents: those of the doctor's own clients, and any in the store.

    Nothing outside the doctor's folder is done but listing.

    Args:
        visit: The clients.
    """
    if visit.writable and visit.bypass(0) is None:
        ours = [name for name in visit.first.ask("names", folder=visit.folder) if temporary_writer(name) is not None]
        if ours:
            return failed(
                f"the doctor's own writes left {len(ours)} temporary files",
                "Refused writes leave files that fill the place; report it to the backend's author.",
            )
    if visit.writable:
        left = _flaw_of_work(visit)
        if left is not None:
            return left
    found: list[Leftover] = []
    keys: list[str] = []
    known = False
    try:
        with suppress(NotSupported):
            held = visit.key("leftovers.json") if visit.writable and visit.common.lock_scope != "none" else None
            if visit.writable:
                visit.first.ask("write", key=visit.key("a clock and a tmp.json"), data=b"1")
            found = _listed(visit, held)
            known = True
            flaw = _flaw_of_listing(found, held)
            if flaw:
                return failed(flaw, "Do not use `exlab-store sweep` here; report it to the backend's author.")
            found = [each for each in found if not each.name.startswith(visit.folder)]
        if visit.common.lists:
            visit.first.send("list_keys", prefix="")
            keys = [key for key in visit.first.answer(_PATIENCE) if not key.startswith(visit.folder)]
            known = True
    except NoAnswer:
        visit.renew()
        return not_applicable(f"the store has so many files that listing them takes more than {_PATIENCE:g} s")
    except AccessDenied as error:
        return warned(f"the store cannot be listed: {error.message}", "Give the account the right to list its folders.")
    if not known:
        return not_applicable("the backend lists nothing")
    return _judged(found, keys)


def _flaw_of_work(visit: Visit) -> ProbeResult | None:
    """Work leaves no file open, and who looks keeps nobody from a lock."""
    key = visit.key("leftovers.json")
    locks = visit.common.lock_scope != "none"
    more: int = visit.first.ask("descriptors_after", key=key, times=_TIMES, locks=locks)
    if more >= _TIMES:
        return failed(
            f"{_TIMES} writes, reads and updates left {more} files or connections open",
            "A program that runs for long can open no more of them at last; report it to the backend's author.",
        )
    if not locks:
        return None
    visit.first.send("look", folder=visit.folder, seconds=visit.seconds / 4)
    refused: int = visit.second.ask("try_locks", key=key, seconds=visit.seconds / 4)
    with suppress(NotSupported):
        visit.first.answer()
    if refused:
        return failed(
            f"a lock that nobody held was refused {refused} times while a client listed the lock files",
            "Do not use `exlab-store locks` here; report it to the backend's author.",
        )
    return None


def _listed(visit: Visit, held: str | None) -> list[Leftover]:
    """All that is there, while a lock is held."""
    if held is not None:
        visit.second.ask("lock", key=held, timeout=_PATIENCE)
    visit.first.send("list_leftovers")
    try:
        found: list[Leftover] = visit.first.answer(_PATIENCE)
    finally:
        if held is not None:
            visit.second.ask("release")
    return found


def _flaw_of_listing(found: list[Leftover], held: str | None) -> str:
    if any(is_key(each.name) for each in found):
        return "a document is listed among the lock files and temporary files"
    if held is not None and any(each.name == lock_key(held) and each.held is False for each in found):
        return "a lock that is held is listed as free"
    return ""


def _closed_to(locks: list[Leftover]) -> str:
    """What to do about lock files that keep somebody from locking who may write the documents."""
    if not locks:
        return ""
    who = ", ".join(dict.fromkeys(name for lock in locks for name in lock.excludes))
    return (
        f"Give {_named(locks)} the owner, the group and the read and write rights of the folder: {who} may put "
        "documents there and cannot lock them."
    )


def _kept_as_database(locks: list[Leftover]) -> str:
    """What to do about lock files in which another program keeps a database."""
    if not locks:
        return ""
    return (
        f"Give the program that keeps an SQLite database in {_named(locks)} a file of its own: it and the "
        "programs that lock documents do not exclude each other."
    )


def _named(locks: list[Leftover]) -> str:
    first = locks[0].name
    return first if len(locks) == 1 else f"{first} and {len(locks) - 1} more lock files"


def _is_old(modified: float | None) -> bool:
    return modified is not None and modified < time.time() - _DAY


def _judged(found: list[Leftover], keys: list[str]) -> ProbeResult:
    old = [each for each in found if each.kind == "temporary" and (each.abandoned or _is_old(each.modified))]
    locks = [each for each in found if each.kind == "lock"]
    corrupt = [key for key in keys if ".corrupt-" in key.rpartition("/")[2]]
    doctors = {key.split("/")[0] for key in keys if key.startswith(FOLDER)}
    held = sum(each.held is True for each in locks)
    closed = [each for each in locks if each.excludes]
    databases = [each for each in locks if each.database]
    advice = [
        text
        for text, wanted in (
            ("`exlab-store sweep` removes temporary files of writers that are gone.", old),
            (_closed_to(closed), closed),
            (_kept_as_database(databases), databases),
            ("See what is in the corrupt copies, and delete them when nobody needs them.", corrupt),
            (f"Delete {', '.join(sorted(doctors))}, unless another doctor is at work there now.", doctors),
        )
        if wanted
    ]
    observed = (
        f"documents: {len(keys)}, lock files: {len(locks)} ({held} held), old temporary files: {len(old)}, "
        f"corrupt copies: {len(corrupt)}"
    )
    return warned(observed, " ".join(advice)) if advice else passed(observed)
