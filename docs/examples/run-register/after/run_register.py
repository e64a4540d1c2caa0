"""The runs of an instrument on a share: each has a folder with `.register/run.json`."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from exlab_store import DocumentExists, DocumentNotFound, StorePath, open_store
from exlab_store.documents import DocumentKind, VersionedDocument


class RunTaken(Exception):
    """Another workstation has the run."""


class Run(VersionedDocument, kw_only=True):
    """A run, as it is stored."""

    schema_version: str = "1.1"
    operator: str
    state: str = "running"
    notes: list[str] = msgspec.field(default_factory=list)


RUN = DocumentKind(Run, "1.1")


def _document(root: Path, run: str) -> StorePath:
    return open_store(root) / run / ".register" / "run.json"


def start(root: Path, run: str, operator: str) -> None:
    """Reserves a run for an operator."""
    try:
        RUN.create(_document(root, run), Run(operator=operator))
    except DocumentExists:
        raise RunTaken(run) from None


def read(root: Path, run: str) -> dict | None:
    """What is known of a run; None for a run that nobody has started."""
    try:
        record = msgspec.to_builtins(RUN.read(_document(root, run)))
    except DocumentNotFound:
        return None
    del record["schema_version"]
    return record


def _change(root: Path, run: str, change: Callable[[Run], object]) -> None:
    def changed(stored: Run) -> Run:
        change(stored)
        return stored

    RUN.update(_document(root, run), changed, missing="raise", on_corrupt="raise")


def add_note(root: Path, run: str, note: str) -> None:
    """Adds a note to a run."""
    _change(root, run, lambda stored: stored.notes.append(note))


def finish(root: Path, run: str) -> None:
    """Says that a run is over."""
    _change(root, run, lambda stored: setattr(stored, "state", "finished"))


def runs(root: Path) -> list[str]:
    """The runs of the instrument, in order."""
    return [key.split("/")[0] for key in open_store(root).list_keys(pattern="*/.register/run.json")]


def remove(root: Path, run: str) -> None:
    """Removes a run from the register."""
    _document(root, run).parent.delete_folder()
