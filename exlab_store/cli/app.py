"""The grammar of the command: its commands, arguments, options and help texts.

Everything that a command needs is imported when it runs: ``--help`` is to appear at once.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer evaluates the annotations
from typing import Annotated

import typer

from exlab_store.cli import examples, folder_commands, groups
from exlab_store.cli.grammar import (
    PROGRAM,
    AsJson,
    Config,
    Document,
    Folder,
    LockTimeout,
    answered,
    known_probes,
    named,
    new_app,
    show_version,
    well_formed_code,
)
from exlab_store.hidden_location import HiddenLocation

__all__ = ["run"]

# "\b" keeps the line breaks of a paragraph.
_HELP = """Atomic, durable, locked JSON documents on whatever storage a site has.

A LOCATION is a URL (file:///data/lab, smb://nas01/lab, memory://name), a
local path (a relative one means the working directory), or the name of a
store in the site's configuration: @catalogue, @catalogue/CONFOCAL_01.

\b
Exit codes:
  0  done
  1  failed
  2  wrong usage: an argument, a location or a name cannot be used
  3  not found
  4  conflict: somebody else's document, or of another major version; a
     folder that is not empty
  5  locked by somebody else
  6  temporarily unavailable: try again
  7  doctor: what a backend claims of a place did not hold
  128 + n  ended by signal n (130: Ctrl-C; 149: Ctrl-Break on Windows)

Errors are on standard error: a sentence and a hint; with --json, one line of
JSON: {"error": {"code": ..., "message": ...}}.
"""


app = new_app(_HELP)
app.add_typer(groups.catalogue, name="catalogue")
app.add_typer(groups.config, name="config")
app.add_typer(groups.equipment, name="equipment")


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    config: Config = None,
) -> None:
    del version, config  # the callbacks have done what there was to do


@app.command("plugins", epilog=examples.PLUGINS_EXAMPLES)
@answered
def _plugins(
    at: Annotated[
        list[HiddenLocation] | None,
        typer.Option(
            "--at",
            parser=HiddenLocation,
            metavar="LOCATION",
            help="Show the guarantees of this location; may be repeated.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the installed backends and what they guarantee.

    What a backend guarantees depends on the location. Without --at, the
    working directory stands for local files, and an empty URL for the others.
    """
    from exlab_store.cli.plugins import show_plugins

    show_plugins(at or [], as_json=as_json)


@app.command("get", epilog=examples.GET_EXAMPLES)
@answered
def _get(
    location: Document,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write the bytes to this file.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version instead of the bytes.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print location, size and version as JSON instead of the bytes.")
    ] = False,
) -> None:
    """Print a document, exactly as it is stored.

    The bytes and their version are of one moment: never torn, and never
    waiting for a writer.
    """
    from exlab_store.cli.documents import get_document

    get_document(location, output, version_only=version, as_json=as_json)


@app.command("put", epilog=examples.PUT_EXAMPLES)
@answered
def _put(
    location: Document,
    source: Annotated[str, typer.Argument(metavar="FILE", help="The new document: a file, or - for stdin.")],
    expect: Annotated[
        str,
        typer.Option(
            metavar="VERSION",
            callback=named,
            help="Write only if the document has this version, or is absent: a version, absent, or any.",
        ),
    ] = "any",
    timeout: LockTimeout = 30.0,
    as_json: AsJson = False,
) -> None:
    """Replace or make a document, as a whole; print its new version.

    It is written under its lock, so never between the reading and the writing
    of a program that changes it. With --expect, nothing is written (exit code
    4) if somebody else has changed it meanwhile. What it means is not checked;
    only a standard input that is empty is refused, as failed commands leave it.
    """
    from exlab_store.cli.documents import expectation, put_document

    put_document(location, source, expectation(expect), timeout=timeout, as_json=as_json)


folder_commands.add_to(app)


@app.command("migrate", epilog=examples.MIGRATE_EXAMPLES)
@answered
def _migrate(
    source: Annotated[
        HiddenLocation,
        typer.Argument(
            parser=HiddenLocation, metavar="SOURCE", help="Where the documents are: a folder's URL or path."
        ),
    ],
    target: Annotated[
        HiddenLocation,
        typer.Argument(parser=HiddenLocation, metavar="TARGET", help="Where they go: a folder's URL or path."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; tell what would be done.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace documents of the target that differ.")
    ] = False,
    delete_source: Annotated[
        bool,
        typer.Option("--delete-source", help="Delete the documents in SOURCE once all of them are in TARGET."),
    ] = False,
    create: Annotated[
        bool, typer.Option("--create", help="Make TARGET where it does not exist; otherwise that is an error.")
    ] = False,
    lock_timeout: Annotated[
        float, typer.Option("--lock-timeout", metavar="SECONDS", min=0, max=86400, help="How long to wait for a lock.")
    ] = 2.0,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, max=64, help="Documents at once.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Copy all documents from one place to another, and verify each.

    Each document is written under its locks in both places; then each is read
    back from both, and compared. What TARGET has already is not copied again:
    after an interruption, run the same command again. Documents of TARGET
    that differ stay as they are (exit code 4) without --overwrite. While
    anybody holds a lock in SOURCE, nothing is copied (5). With --delete-source,
    nothing is deleted unless everything is in TARGET. Lock files stay.
    """
    from exlab_store.cli.migrate import run_migration

    run_migration(
        source,
        target,
        create=create,
        dry_run=dry_run,
        overwrite=overwrite,
        delete_source=delete_source,
        lock_timeout=lock_timeout,
        jobs=jobs,
        as_json=as_json,
    )


@app.command("locks", epilog=examples.LOCKS_EXAMPLES)
@answered
def _locks(
    location: Folder,
    held: Annotated[bool, typer.Option("--held", help="Leave out the locks that are free.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the lock files of a store, and who holds each lock.

    Looking takes no lock and keeps nobody waiting. "unknown": only the server
    of a mounted share knows. A lock file stays when its lock is free; deleting
    it would let two programs have the lock at once.

    No command frees the lock of somebody else. What frees it:

    \b
    - on this machine: end the process that holds it (kill PID; on Windows,
      taskkill /F /PID PID)
    - smb: end the process on the machine that is named, or, if that machine
      is gone, its session on the server. Samba: smbstatus --locks shows the
      PID of the smbd to kill. Windows: net file, then net file ID /close
    - a mounted share: end the process, or unmount the share on its machine;
      an NFS server frees the locks of a machine that has restarted
    """  # noqa: D301  # the help needs the character, not its name
    from exlab_store.cli.locks import show_locks

    show_locks(location, held_only=held, as_json=as_json)


@app.command("sweep", epilog=examples.SWEEP_EXAMPLES)
@answered
def _sweep(
    location: Folder,
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; without it, only show what would be.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove temporary files that writers have left behind.

    Those whose writer is certainly gone, and those older than a day: never a
    document, never a lock file. A writer that comes back after a day fails,
    says so, and leaves the document as it is.

    Ages are by the storage's own clock, on local disks and over smb:. On a
    mounted share they are by this machine's clock, and the answer says so.
    """
    from exlab_store.cli.sweep import sweep

    sweep(location, delete=delete, as_json=as_json)


@app.command("doctor", epilog=examples.DOCTOR_EXAMPLES)
def _doctor(
    locations: Annotated[
        list[HiddenLocation],
        typer.Argument(
            parser=HiddenLocation,
            metavar="LOCATION",
            help="A place, or several ways to one place: a mount and a URL.",
            show_default=False,
        ),
    ],
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a page (HTML) with the report.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PROBE",
            callback=known_probes,
            help="Only this probe; may be repeated: reach, mount, space, permissions, exact, replace, held-open, lock, "
            "separate, wait, crash, fence, swap, fresh, watching, flush, names, list, clock, leftovers.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="N", min=0.05, max=3600, help="How long each race goes on.")] = 1.0,
    invite: Annotated[
        bool,
        typer.Option("--invite", help="Then examine it together with another machine: shows what to run there."),
    ] = False,
    wait: Annotated[
        float, typer.Option(metavar="N", min=1, max=86400, help="How long the other machine has to join.")
    ] = 600.0,
    code: Annotated[
        str | None,
        typer.Option(
            "--join", metavar="CODE", callback=well_formed_code, help="Be the other machine, with the code it shows."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that a place is fit: what its backend claims against what was seen.

    Two client processes work there at the same time, in a folder of their own
    that is removed afterwards; documents that are there are never touched.
    They see whether documents are replaced as a whole, locks exclude, end and
    fence, conditions hold, reads are fresh, changes are told, flushes reach a
    disk (by a sign only), names are kept, clocks agree, and whether there is
    room. Of several LOCATIONs, each two are also examined together. What is
    wrong comes with what to do about it: the setting of the server, where
    there is one.

    With --invite, another machine takes part: the command that is shown is
    run there. The two have no connection but the place itself. What is shown
    between two machines is marked in the report.

    Takes about ten seconds for each place. Exits with 1 if a probe failed,
    7 if a claim did not hold, and 6 if the place, or the other machine, went
    away or did not come.
    """
    from exlab_store.cli.terminal import answering

    if (invite or code) and len(locations) > 1:
        raise typer.BadParameter("two machines examine one location.", param_hint="'LOCATION...'")
    if code and (invite or report or only):
        raise typer.BadParameter("who joins chooses nothing and has no report: --join stands alone.")
    with answering(as_json=as_json):
        if code:
            from exlab_store.cli.joining import run_join

            run_join(locations[0], code, as_json=as_json)
            return
        from exlab_store.cli.doctor import run_doctor

        run_doctor(
            locations, seconds=seconds, only=only or [], page=report, wait=wait if invite else None, as_json=as_json
        )


@app.command("bench", epilog=examples.BENCH_EXAMPLES)
@answered
def _bench(
    location: Folder,
    seconds: Annotated[
        float, typer.Option(metavar="N", min=0.01, max=3600, help="How long each operation is measured.")
    ] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a place is.

    Writes of 2 KiB, 64 KiB and 1 MiB, a read, a lock, an update, and a lock
    that 1, 4 and 8 processes want (threads, in memory). It works in a folder
    of its own, exlab-store-bench- and 16 hex digits, that is removed
    afterwards; documents that are there are never touched. In a directory of
    this machine, the same is done by hand, in turns with the store. Takes
    about ten times --seconds.
    """
    from exlab_store.cli.bench import run_bench

    run_bench(location, seconds=seconds, as_json=as_json)


@app.command("demo", epilog=examples.DEMO_EXAMPLES)
@answered
def _demo(
    at: Annotated[
        HiddenLocation | None,
        typer.Option(
            "--at",
            parser=HiddenLocation,
            metavar="LOCATION",
            help="An existing place to work in, in a folder of the demo's own.  [default: a temporary directory]",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="N", min=0.1, max=86400, help="How long to work.")] = 3.0,
    writers: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Processes that write.")] = 4,
    readers: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Processes that read.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Show on this machine that nothing is torn and nothing is lost.

    Publishes a LIMS's answer as an offline catalogue, registers instruments
    from several processes at once, lets writers and readers work on the same
    documents, reads everything back, and counts. Exits with 1 if a reader saw
    a torn document, an update was lost, or a process failed. The documents
    are removed afterwards; those that were there before are never touched.
    """
    from exlab_store.cli.demo.command import run_demo

    run_demo(at, seconds=seconds, writers=writers, readers=readers, as_json=as_json)


def run() -> None:
    """Runs the command with the process's arguments.

    Raises:
        SystemExit: Always, with one of `ExitCode`.
    """
    import logging
    import sys

    from exlab_store.cli.ending import end_at_next_interrupt
    from exlab_store.cli.exit_codes import ExitCode
    from exlab_store.cli.terminal import prepare_streams, say_unexpected

    prepare_streams()
    # Without a handler, Python prints what libraries log (each retry, say) among the command's own sentences.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        # On Windows, typer would look up patterns in the working directory, and variables in URLs.
        app(prog_name=PROGRAM, windows_expand_args=False)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        say_unexpected(error)
        sys.exit(ExitCode.FAILED)
    finally:
        end_at_next_interrupt()
