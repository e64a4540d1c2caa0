"""``exlab-store demo`` as a whole: make the folder, let the crew work, read everything back, judge, print."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store import ConfigError, DocumentNotFound, StoreError, StorePath
from exlab_store.cli.demo import marked
from exlab_store.cli.demo.crew import Crew
from exlab_store.cli.demo.documents import Documents
from exlab_store.cli.demo.folder import remains, set_up
from exlab_store.cli.demo.marked import TornDocument
from exlab_store.cli.demo.printing import printed
from exlab_store.cli.demo.projects import ENDPOINT, sample_projects
from exlab_store.cli.demo.verdict import Demonstration, Stored, Verdict, judged
from exlab_store.cli.ending import ended_in_order
from exlab_store.cli.exit_codes import ExitCode
from exlab_store.cli.terminal import error_console, print_json, show
from exlab_store.documents import now, read_catalogue, write_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from exlab_store.hidden_location import HiddenLocation

__all__ = ["run_demo"]


def run_demo(at: HiddenLocation | None, *, seconds: float, writers: int, readers: int, as_json: bool) -> None:
    """Runs the demo and prints how it went.

    Args:
        at: Where; None for a temporary directory.
        seconds: How long the processes work.
        writers: How many write.
        readers: How many read.
        as_json: Print JSON.

    Raises:
        StoreError: The place cannot be used.
        SystemExit: Something was torn or lost, or a process failed.
    """
    with ended_in_order(), _progress(seconds, writers, readers) as tick:
        demonstration = _demonstrated(at, seconds, writers, readers, tick)
    if as_json:
        print_json(_answer(demonstration))
    else:
        show(*printed(demonstration))
    if not demonstration.verdict.sound:
        raise SystemExit(ExitCode.FAILED)


def _demonstrated(
    at: HiddenLocation | None, seconds: float, writers: int, readers: int, tick: Callable[[float], None]
) -> Demonstration:
    with set_up(at) as folder:
        documents = Documents(folder.store, folder.key)
        projects = sample_projects()
        write_catalogue(documents.catalogue, marked.catalogue_of(projects, 0, now(), ENDPOINT))
        documents.record.atomic_write(marked.record(0, 0))
        documents.counter.atomic_write(marked.counted(None, 0))
        with Crew(writers, readers) as crew:
            ended = crew.work(folder, seconds, tick)
        return Demonstration(
            location=folder.shown,
            remains=remains(folder),
            durable=folder.store.guarantees.durable,
            seconds=seconds,
            writers=writers,
            readers=readers,
            projects=len(projects),
            instruments=len(documents.equipment),
            verdict=judged(ended, _stored(documents)),
        )


def _stored(documents: Documents) -> Stored:
    return Stored(
        record=_read(documents.record),
        counter=_read(documents.counter),
        equipment={name: _read(path) for name, path in documents.equipment.items()},
        catalogue_flaw=_catalogue_flaw(documents.catalogue),
    )


def _read(path: StorePath) -> bytes | None:
    try:
        return path.read_snapshot().data
    except DocumentNotFound:
        return None


def _catalogue_flaw(path: StorePath) -> str | None:
    try:
        marked.check_catalogue(read_catalogue(path, expected_endpoint=ENDPOINT), sample_projects())
    except TornDocument as error:
        return str(error)
    except ConfigError as error:
        cause = error.__cause__
        if isinstance(cause, StoreError) and not isinstance(cause, DocumentNotFound):
            raise cause from None  # it could not be read at all
        return error.message
    return None


def _answer(demonstration: Demonstration) -> dict[str, Any]:
    members = msgspec.structs.asdict(demonstration)
    verdict: Verdict = members.pop("verdict")
    return members | msgspec.structs.asdict(verdict) | {"sound": verdict.sound}


def _progress(seconds: float, writers: int, readers: int) -> AbstractContextManager[Callable[[float], None]]:
    console = error_console()
    if console is None:
        return nullcontext(lambda _seconds: None)
    from exlab_store.cli.demo.printing import progress

    return progress(console, seconds, writers, readers)
