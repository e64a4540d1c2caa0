"""The probes of names, lists and deletions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.doctor.findings import ProbeResult, failed, not_applicable, passed, warned
from exlab_store.errors import AccessDenied, DocumentNotFound, InvalidKey, VersionConflict

if TYPE_CHECKING:
    from exlab_store.doctor.visit import Visit

__all__ = ["listing", "names"]

_LENGTHS = (255, 240, 200, 143, 100, 60)  # 143: what eCryptfs leaves of a name, so the encrypted folders of some NAS

_MANY = 1100


def names(visit: Visit) -> ProbeResult:
    """Writes documents with names that storage systems treat differently.

    Args:
        visit: The clients.
    """
    lists = visit.common.lists
    kept = {
        "accents": ["r\u00e9sum\u00e9 \u00c5ngstr\u00f6m.json", "\u7530\u4e2d.json", "\U0001f52c.json"],
        "a leading dot": [".exlab-wizard/equipment.json"],
        "spaces": ["a name with spaces.json"],
    }
    for what, examples in kept.items():
        for name in examples:
            key = visit.key(f"names/{name}")
            try:
                visit.first.ask("write", key=key, data=b"1")
                visit.second.ask("read", key=key)
                listed = not lists or key in visit.second.ask("list_keys", prefix=visit.key("names"))
            except (InvalidKey, AccessDenied, DocumentNotFound) as error:
                return warned(
                    f"a name with {what} cannot be used: {error.message}",
                    "On Samba see `veto files`, `unix charset = UTF-8` and `mangled names`; on a mount see "
                    "`iocharset=utf8`.",
                )
            if not listed:
                return warned(
                    f"a document whose name has {what} can be read and is not listed",
                    "The storage changes the name (to another form of its accents, say) or hides it: on Samba see "
                    "`veto files`, `hide files` and `vfs objects = fruit`.",
                )
    visit.first.ask("write", key=visit.key("names/Case.json"), data=b"1")
    try:
        visit.second.ask("read", key=visit.key("names/case.json"))
        case = "upper and lower case are one name"
    except DocumentNotFound:
        case = "upper and lower case are two names"
        try:
            visit.first.ask("write", key=visit.key("names/case.json"), data=b"1")
        except InvalidKey:
            case = "of two names that differ in case only, the second is refused"
    longest = _longest(visit)
    observed = f"accents, spaces and leading dots are kept; {case}; names may have {longest} bytes"
    if longest < _LENGTHS[0]:
        return warned(
            observed,
            "Longer names are refused: keep them short, or use a folder without encryption of names.",
        )
    return passed(observed)


def _longest(visit: Visit) -> int:
    for length in _LENGTHS:
        key = visit.key("names/" + "n" * (length - 5) + ".json")
        try:
            visit.first.ask("write", key=key, data=b"1")
        except InvalidKey:
            continue
        visit.second.ask("read", key=key)
        return length
    return 0


def listing(visit: Visit) -> ProbeResult:
    """Lists while the other client writes, and deletes.

    Args:
        visit: The clients.
    """
    claimed = visit.common
    if not claimed.lists and not claimed.deletes:
        return not_applicable("neither listing nor deleting is claimed")
    folder = visit.key("list")
    keys = {f"{folder}/{number}/document.json" for number in range(4)}
    for key in (*keys, f"{folder}-beside/document.json"):
        visit.first.ask("write", key=key, data=b"1")
    if claimed.lock_scope != "none":
        # A lock file is no document.
        visit.first.ask("lock", key=f"{folder}/0/document.json", timeout=10)
        visit.first.ask("release")
    if claimed.lists:
        visit.first.send(
            "write_sealed", key=f"{folder}/0/document.json", client="doctor", seconds=visit.seconds / 4, threads=2
        )
        listed: set[str] = visit.second.ask("list_while", prefix=folder, seconds=visit.seconds / 4)
        visit.first.answer()
        if listed != keys:
            return failed(
                f"{len(listed - keys)} names were listed that are no documents of the folder, "
                f"{len(keys - listed)} documents were not",
                "Programs that list will stumble here; report it to the backend's author.",
                lists="broken",
            )
        missing = _missing_of_many(visit)
        if missing:
            return failed(
                missing,
                "Programs that list do not see all documents; report it to the backend's author.",
                lists="broken",
            )
    if not claimed.deletes:
        return passed(f"{len(keys)} documents were listed, and nothing else", lists="held")
    key = f"{folder}/0/document.json"
    flaw = _flaw_of_deleting(visit, key)
    if flaw:
        return failed(flaw, "Report it to the backend's author.", deletes="broken")
    if not claimed.lists:
        return passed("what one client deletes is gone for the other", deletes="held")
    return passed(
        f"{len(keys)} documents were listed, and nothing else; what one client deletes is gone for the other",
        lists="held",
        deletes="held",
    )


def _missing_of_many(visit: Visit) -> str:
    """Many servers give a thousand names at once: are there more, they have to be asked again."""
    if visit.bypass(0) is not None:
        return ""
    folder = visit.key("many")
    visit.first.ask("write", key=f"{folder}/first.json", data=b"1")
    count = 1 + visit.first.ask("plant", folder=folder, count=_MANY, seconds=max(1.0, visit.seconds))
    listed = len(visit.second.ask("list_keys", prefix=folder))
    visit.first.ask("remove_folder", folder=folder)
    return "" if listed == count else f"of {count} documents in a folder {listed} were listed"


def _flaw_of_deleting(visit: Visit, key: str) -> str:
    return _flaw_of_one(visit, key) or _flaw_of_remains(visit) or _flaw_of_races(visit)


def _flaw_of_remains(visit: Visit) -> str:
    if visit.bypass(0) is not None:
        return ""
    key = visit.key("deleted/document.json")
    visit.first.ask("write", key=key, data=b"1")
    visit.first.ask("delete", key=key)
    left = [name for name in visit.first.ask("names", folder=visit.key("deleted")) if name != "document.json.lock"]
    return f"a deletion left a file on the storage: {left[0]}" if left else ""


def _flaw_of_races(visit: Visit) -> str:
    seconds = visit.seconds / 4
    if visit.common.conditional_write != "none":
        key = visit.key("race/contended.json")
        visit.first.send("replace_seen", key=key, seconds=seconds)
        visit.second.send("delete_seen", key=key, seconds=seconds)
        replaced: set[bytes] = visit.first.answer()
        deleted: set[bytes] = visit.second.answer()
        if replaced & deleted:
            return f"a deletion on a condition took a document that had been replaced, {len(replaced & deleted)} times"
    # Neither of two clients that write and delete in one folder may fail: what one raises is the finding.
    visit.both(
        "write_and_delete",
        {"key": visit.key("race/1.json"), "seconds": seconds},
        {"key": visit.key("race/2.json"), "seconds": seconds},
    )
    return ""


def _flaw_of_one(visit: Visit, key: str) -> str:
    if visit.common.conditional_write != "none":
        old = visit.first.ask("write", key=key, data=b"old")
        visit.first.ask("write", key=key, data=b"new")
        try:
            visit.second.ask("delete", key=key, expect=old)
        except VersionConflict:
            pass
        else:
            return "a document was deleted that was not at the expected version"
    visit.first.ask("delete", key=key)
    try:
        visit.second.ask("read", key=key)
    except DocumentNotFound:
        pass
    else:
        return "a document that was deleted can still be read"
    try:
        visit.second.ask("delete", key=key)
    except DocumentNotFound:
        return ""
    return "a document that was not there was deleted"
