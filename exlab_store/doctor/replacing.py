"""The probe of replacement: under readers, and while another program keeps the document open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.clients.client import NoAnswer
from exlab_store.clients.witness import sealed
from exlab_store.doctor import tasks
from exlab_store.doctor.findings import ProbeResult, failed, not_applicable, passed, warned
from exlab_store.errors import AccessDenied, BackendUnavailable

if TYPE_CHECKING:
    from exlab_store.clients.work import Reads
    from exlab_store.doctor.visit import Visit

__all__ = ["held_open", "replace"]

_SOON = 2.0


def replace(visit: Visit) -> ProbeResult:
    """One client writes with two threads, the other reads; then the other way round.

    Args:
        visit: The clients.
    """
    if not visit.common.atomic_replace:
        return not_applicable(visit.why_not("atomic_replace"))
    key, half = visit.key("replace.json"), visit.seconds / 2
    visit.first.ask("write", key=key, data=sealed("first", 0, tasks.BODY))
    written = 0
    seen: list[Reads] = []
    for writer, reader in ((visit.first, visit.second), (visit.second, visit.first)):
        writer.send("write_sealed", key=key, client="doctor", seconds=half, threads=2)
        reader.send("read_sealed", key=key, seconds=half)
        written += writer.answer()
        seen.append(reader.answer())
    whole, torn, missing = (sum(getattr(each, name) for each in seen) for name in ("whole", "torn", "missing"))
    if torn or missing:
        return failed(
            f"of {whole + torn + missing} reads under {written} writes, {torn} gave a torn document, {missing} none",
            "Do not let programs use this place. The storage, or the backend, does not replace files with one step "
            "(rename over an existing file).",
            atomic_replace="broken",
        )
    folder, conditional = visit.key("made"), visit.common.conditional_write != "none"
    visit.first.send("make_sealed", folder=folder, seconds=half / 2, conditional=conditional)
    visit.second.send("read_made", folder=folder, seconds=half / 2)
    made: int = visit.first.answer()
    new, half_made = visit.second.answer()
    if half_made:
        return failed(
            f"of {new + half_made} reads of new documents, {half_made} gave what was written so far",
            "Do not let programs use this place. The storage, or the backend, shows a new document before it is whole.",
            atomic_replace="broken",
        )
    return passed(
        f"{whole} reads under {written} writes, and {new} of {made} new documents: each gave a whole document",
        atomic_replace="held",
    )


def held_open(visit: Visit) -> ProbeResult:
    """Another program keeps the document open, past the store, while a client replaces it.

    Args:
        visit: The clients.
    """
    reason = visit.bypass(1)
    if reason is not None:
        return not_applicable(f"no other program can open a document here: {reason}")
    key = visit.key("held-open.json")
    visit.first.ask("write", key=key, data=b"1")
    visit.second.ask("hold_open", key=key)
    refused = ""
    visit.first.send("write", key=key, data=b"2")
    try:
        visit.first.answer(_SOON)
    except NoAnswer:
        refused = "waits until it is closed"
        visit.second.ask("let_go")
        visit.first.answer()
    except (AccessDenied, BackendUnavailable):
        refused = "is refused"
        visit.second.ask("let_go")
        visit.first.ask("write", key=key, data=b"2")
    if refused:
        return warned(
            f"Windows-like: while another program has a document open, a write {refused}",
            "Open documents with this package or copy them; do not leave them open in viewers or editors, and keep "
            "indexers, virus scanners and backups away from the folder.",
        )
    visit.second.ask("let_go")
    found, _ = visit.second.ask("read", key=key)
    if found != b"2":
        return failed(
            "a document that another program had open was not replaced, and the write was acknowledged",
            "Do not use this place.",
            atomic_replace="broken",
        )
    return passed("POSIX-like: a document that another program has open is replaced all the same")
