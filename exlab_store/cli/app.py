"""The grammar of the command: its commands, arguments, options and help texts.

Everything that a command needs is imported when it runs: ``--help`` is to appear at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

__all__ = ["run"]

_PROGRAM = "exlab-store"
_HELP_NAMES: Final = {"help_option_names": ["-h", "--help"]}

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
  4  conflict: somebody else's document, or of another major version
  5  locked by somebody else
  6  temporarily unavailable: try again
  7  doctor: what a backend claims of a place did not hold
  128 + n  ended by signal n (130: Ctrl-C)

Errors are on standard error: a sentence and a hint; with --json, one line of
JSON: {"error": {"code": ..., "message": ...}}.
"""

_CATALOGUE_EXAMPLES = """\b
Examples:
  exlab-store catalogue publish answer.json /nas/.exlab-wizard/lims.json \\
      --endpoint https://lims.lab.example/api/v1
  exlab-store catalogue show /nas/.exlab-wizard/lims.json \\
      --endpoint https://lims.lab.example/api/v1
"""

_EQUIPMENT_EXAMPLES = """\b
Examples:
  exlab-store equipment register CONFOCAL_01/.exlab-wizard/equipment.json \\
      --id CONFOCAL_01 --label 'Confocal Microscope 1' \\
      --local-root /data/lab --nas-root //nas01/lab
  exlab-store equipment show CONFOCAL_01/.exlab-wizard/equipment.json
"""

_PLUGINS_EXAMPLES = """\b
Examples:
  exlab-store plugins
  exlab-store plugins --at /mnt/nas --at smb://nas01/lab
"""

_CONFIG_EXAMPLES = """\b
Examples:
  exlab-store config show
  exlab-store --config lab.toml config check
  exlab-store config check @catalogue
"""

_GET_EXAMPLES = """\b
Examples:
  exlab-store get @catalogue/CONFOCAL_01/equipment.json
  exlab-store get smb://nas01/lab/runs.json --output runs.json
  exlab-store get /nas/lab/runs.json --version
"""

_PUT_EXAMPLES = """\b
Examples:
  exlab-store put /nas/lab/runs.json runs.json --expect absent
  version=$(exlab-store get /nas/lab/runs.json --version)
  exlab-store get /nas/lab/runs.json | sed s/old/new/ |
      exlab-store put /nas/lab/runs.json - --expect "$version"
"""

_LS_EXAMPLES = """\b
Examples:
  exlab-store ls @catalogue
  exlab-store ls smb://nas01/lab/exlab --long
"""

_RM_EXAMPLES = """\b
Examples:
  exlab-store rm /nas/lab/runs.json
  exlab-store rm /nas/lab/runs.json --expect "$version"
"""

_MIGRATE_EXAMPLES = """\b
Examples:
  exlab-store migrate /nas/lab smb://nas01/lab/exlab --create --dry-run
  exlab-store migrate /nas/lab smb://nas01/lab/exlab --create
  exlab-store migrate @old @new --delete-source
"""

_LOCKS_EXAMPLES = """\b
Examples:
  exlab-store locks smb://nas01/lab/exlab --held
  exlab-store locks @catalogue/CONFOCAL_01 --json
"""

_SWEEP_EXAMPLES = """\b
Examples:
  exlab-store sweep @catalogue
  exlab-store sweep @catalogue --delete
"""

_DOCTOR_EXAMPLES = """\b
Examples:
  exlab-store doctor /mnt/nas
  exlab-store doctor @catalogue --report report.html
  exlab-store doctor /mnt/nas/exlab smb://nas01/lab/exlab
  exlab-store doctor smb://nas01/lab/exlab --only lock --only crash
"""

_BENCH_EXAMPLES = """\b
Examples:
  exlab-store bench /mnt/nas
  exlab-store bench @catalogue --seconds 5
  exlab-store bench smb://nas01/lab --json
"""

_DEMO_EXAMPLES = """\b
Examples:
  exlab-store demo
  exlab-store demo --at /mnt/nas --seconds 30 --writers 8
"""


def _app(text: str, epilog: str | None = None) -> typer.Typer:
    return typer.Typer(
        help=text,
        epilog=epilog,
        no_args_is_help=True,
        add_completion=False,
        # Plain help appears in a third of the time, and fits 80 columns.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        context_settings=dict(_HELP_NAMES),
    )


app = _app(_HELP)
_catalogue = _app("Publish and show an offline catalogue of LIMS projects.", _CATALOGUE_EXAMPLES)
_equipment = _app("Register an instrument and show what is registered.", _EQUIPMENT_EXAMPLES)
_config = _app("Show and check the site's configuration, exlab-store.toml.", _CONFIG_EXAMPLES)
app.add_typer(_catalogue, name="catalogue")
app.add_typer(_config, name="config")
app.add_typer(_equipment, name="equipment")


def _named(value: str) -> str:
    if not value.strip():
        raise typer.BadParameter("it is empty.")
    return value


def _use(path: Path | None) -> None:
    if path is not None:
        from exlab_store.cli.places import use_configuration

        use_configuration(str(path))


_Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        callback=_use,
        help="The site's configuration.  [default: EXLAB_STORE_CONFIG, or exlab-store.toml here or where the system "
        "keeps configuration]",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
_Document = Annotated[str, typer.Argument(metavar="LOCATION", help="The document: a URL, a path, or @name/document.")]
_Endpoint = Annotated[
    str, typer.Option("--endpoint", metavar="URL", callback=_named, help="The LIMS that the projects are from.")
]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        from exlab_store.cli.terminal import answering, print_text

        with answering(as_json=False):
            print_text(f"{_PROGRAM} {version('exlab-store')}\n")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    config: _Config = None,
) -> None:
    del version, config  # the callbacks have done what there was to do


@_catalogue.command("publish", epilog=_CATALOGUE_EXAMPLES)
def _catalogue_publish(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help='The LIMS\'s answer, {"data": [...]}: a file, or - for stdin.')
    ],
    location: _Document,
    endpoint: _Endpoint,
    produced_by: Annotated[
        str | None, typer.Option("--produced-by", metavar="NAME", help="This workstation.  [default: the host's name]")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Publish the LIMS's answer as an offline catalogue."""
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.catalogue import publish_catalogue

        publish_catalogue(source, location, endpoint, produced_by, as_json=as_json)


@_catalogue.command("show", epilog=_CATALOGUE_EXAMPLES)
def _catalogue_show(location: _Document, endpoint: _Endpoint, as_json: _Json = False) -> None:
    """Show an offline catalogue.

    With --json, the whole document, metadata included.
    """
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.catalogue import show_catalogue

        show_catalogue(location, endpoint, as_json=as_json)


@_equipment.command("register", epilog=_EQUIPMENT_EXAMPLES)
def _equipment_register(
    location: _Document,
    identifier: Annotated[
        str, typer.Option("--id", metavar="ID", callback=_named, help="The instrument: CONFOCAL_01.")
    ],
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What people call it.")],
    local_root: Annotated[
        str, typer.Option("--local-root", metavar="PATH", help="Where the workstation keeps its data.")
    ],
    nas_root: Annotated[str, typer.Option("--nas-root", metavar="PATH", help="Where the NAS keeps it.")],
    lock_timeout: Annotated[
        float,
        typer.Option("--lock-timeout", metavar="SECONDS", min=0, max=86400, help="How long to wait for the lock."),
    ] = 30.0,
    as_json: _Json = False,
) -> None:
    """Register an instrument, or change what is registered.

    The document is changed under its lock. Fields that this program does not
    know stay, and so does the time at which the instrument was first seen.
    """
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.equipment import register_equipment
        from exlab_store.documents import EquipmentJson

        payload = EquipmentJson(
            id=identifier, label=label, configured_local_root=local_root, configured_nas_root=nas_root
        )
        register_equipment(location, payload, lock_timeout=lock_timeout, as_json=as_json)


@_equipment.command("show", epilog=_EQUIPMENT_EXAMPLES)
def _equipment_show(location: _Document, as_json: _Json = False) -> None:
    """Show a registered instrument."""
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.equipment import show_equipment

        show_equipment(location, as_json=as_json)


@app.command("plugins", epilog=_PLUGINS_EXAMPLES)
def _plugins(
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="LOCATION", help="Show the guarantees of this location; may be repeated."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """List the installed backends and what they guarantee.

    What a backend guarantees depends on the location. Without --at, the
    working directory stands for local files, and an empty URL for the others.
    """
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.plugins import show_plugins

        show_plugins(at or [], as_json=as_json)


@_config.callback()
def _config_top(config: _Config = None) -> None:
    del config  # its callback has done what there was to do


@_config.command("show", epilog=_CONFIG_EXAMPLES)
def _config_show(config: _Config = None, as_json: _Json = False) -> None:
    """Show what is in force, and where each value comes from.

    Passwords are neither read nor shown, and text among a backend's options
    is not shown either.
    """
    del config
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.configuration import show_configuration

        show_configuration(as_json=as_json)


@_config.command("check", epilog=_CONFIG_EXAMPLES)
def _config_check(
    stores: Annotated[
        list[str] | None, typer.Argument(metavar="@NAME", help="The stores to open.  [default: all]")
    ] = None,
    config: _Config = None,
    as_json: _Json = False,
) -> None:
    """Open each store with its password, and check what it requires.

    Exits with the code of the failure if a store cannot be opened, and with
    1 if several differ.
    """
    del config
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.configuration import check_configuration

        check_configuration(stores or [], as_json=as_json)


_LockTimeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0, max=86400, help="How long to wait for the document's lock."),
]


@app.command("get", epilog=_GET_EXAMPLES)
def _get(
    location: _Document,
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
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.documents import get_document

        get_document(location, output, version_only=version, as_json=as_json)


@app.command("put", epilog=_PUT_EXAMPLES)
def _put(
    location: _Document,
    source: Annotated[str, typer.Argument(metavar="FILE", help="The new document: a file, or - for stdin.")],
    expect: Annotated[
        str,
        typer.Option(
            metavar="VERSION",
            callback=_named,
            help="Write only if the document has this version, or is absent: a version, absent, or any.",
        ),
    ] = "any",
    timeout: _LockTimeout = 30.0,
    as_json: _Json = False,
) -> None:
    """Replace or make a document, as a whole; print its new version.

    It is written under its lock, so never between the reading and the writing
    of a program that changes it. With --expect, nothing is written (exit code
    4) if somebody else has changed it meanwhile. What it means is not checked;
    only a standard input that is empty is refused, as failed commands leave it.
    """
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.documents import expectation, put_document

        put_document(location, source, expectation(expect), timeout=timeout, as_json=as_json)


@app.command("ls", epilog=_LS_EXAMPLES)
def _ls(
    location: Annotated[str, typer.Argument(metavar="LOCATION", help="The folder: a URL, a path, or @name.")],
    detailed: Annotated[
        bool, typer.Option("--long", "-l", help="Show sizes and versions too; reads every document.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """List a folder's documents, at any depth: one key on each line.

    Lock files, temporary files and names that are not keys are not listed.
    A terminal shows the beginning of each version; get --version has it all.
    """
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.documents import list_documents

        list_documents(location, detailed=detailed, as_json=as_json)


@app.command("rm", epilog=_RM_EXAMPLES)
def _rm(
    location: _Document,
    expect: Annotated[
        str,
        typer.Option(metavar="VERSION", callback=_named, help="Delete only if the document has this version; or any."),
    ] = "any",
    timeout: _LockTimeout = 30.0,
    as_json: _Json = False,
) -> None:
    """Delete a document, under its lock; nothing is asked.

    Its lock file stays: other programs may be waiting for it.
    """
    if expect.lower() == "absent":
        raise typer.BadParameter("a document that is absent cannot be deleted.", param_hint="'--expect'")
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.documents import expectation, remove_document

        remove_document(location, expectation(expect), timeout=timeout, as_json=as_json)


@app.command("migrate", epilog=_MIGRATE_EXAMPLES)
def _migrate(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Where the documents are: a folder's URL or path.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Where they go: a folder's URL or path.")],
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
    as_json: _Json = False,
) -> None:
    """Copy all documents from one place to another, and verify each.

    Each document is written under its locks in both places; then each is read
    back from both, and compared. What TARGET has already is not copied again:
    after an interruption, run the same command again. Documents of TARGET
    that differ stay as they are (exit code 4) without --overwrite. While
    anybody holds a lock in SOURCE, nothing is copied (5). With --delete-source,
    nothing is deleted unless everything is in TARGET. Lock files stay.
    """
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
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


_Folder = Annotated[str, typer.Argument(metavar="LOCATION", help="A store, or a folder of one: a URL, a path, @name.")]


@app.command("locks", epilog=_LOCKS_EXAMPLES)
def _locks(
    location: _Folder,
    held: Annotated[bool, typer.Option("--held", help="Leave out the locks that are free.")] = False,
    as_json: _Json = False,
) -> None:
    """Show the lock files of a store, and who holds each lock.

    Looking takes no lock and keeps nobody waiting. "unknown": only the server
    of a mounted share knows. A lock file stays when its lock is free; deleting
    it would let two programs have the lock at once.

    No command frees the lock of somebody else. What frees it:

    \b
    - on this machine: end the process that holds it (kill PID)
    - smb: end the process on the machine that is named, or, if that machine
      is gone, its session on the server. Samba: smbstatus --locks shows the
      PID of the smbd to kill. Windows: net file, then net file ID /close
    - a mounted share: end the process, or unmount the share on its machine;
      an NFS server frees the locks of a machine that has restarted
    """  # noqa: D301  # the help needs the character, not its name
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.locks import show_locks

        show_locks(location, held_only=held, as_json=as_json)


@app.command("sweep", epilog=_SWEEP_EXAMPLES)
def _sweep(
    location: _Folder,
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; without it, only show what would be.")] = False,
    as_json: _Json = False,
) -> None:
    """Remove temporary files that writers have left behind.

    Those whose writer is certainly gone, and those older than a day: never a
    document, never a lock file. A writer that comes back after a day fails,
    says so, and leaves the document as it is.

    Ages are by the storage's own clock, on local disks and over smb:. On a
    mounted share they are by this machine's clock, and the answer says so.
    """
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.sweep import sweep

        sweep(location, delete=delete, as_json=as_json)


def _probes(names: list[str] | None) -> list[str]:
    from exlab_store.doctor.probes import PROBES

    unknown = [name for name in names or [] if name not in PROBES]
    if unknown:
        raise typer.BadParameter(f"there is no probe {unknown[0]!r}; there are {', '.join(sorted(PROBES))}.")
    return names or []


@app.command("doctor", epilog=_DOCTOR_EXAMPLES)
def _doctor(
    locations: Annotated[
        list[str],
        typer.Argument(
            metavar="LOCATION", help="A place, or several ways to one place: a mount and a URL.", show_default=False
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
            callback=_probes,
            help="Only this probe; may be repeated: reach, mount, space, permissions, exact, replace, held-open, lock, "
            "separate, wait, crash, fence, swap, fresh, flush, names, list, clock, leftovers.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="N", min=0.05, max=3600, help="How long each race goes on.")] = 1.0,
    as_json: _Json = False,
) -> None:
    """Prove that a place is fit: what its backend claims against what was seen.

    Two client processes work there at the same time, in a folder of their own
    that is removed afterwards; documents that are there are never touched.
    They see whether documents are replaced as a whole, locks exclude, end and
    fence, conditions hold, reads are fresh, flushes reach a disk (by a sign
    only), names are kept, clocks agree, and whether there is room. Of several
    LOCATIONs, each two are also examined together. What is wrong comes with
    what to do about it: the setting of the server, where there is one.

    Takes about ten seconds for each place. Exits with 1 if a probe failed,
    7 if a claim did not hold, and 6 if the place went away.
    """
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.doctor import run_doctor

        run_doctor(locations, seconds=seconds, only=only or [], page=report, as_json=as_json)


@app.command("bench", epilog=_BENCH_EXAMPLES)
def _bench(
    location: _Folder,
    seconds: Annotated[
        float, typer.Option(metavar="N", min=0.01, max=3600, help="How long each operation is measured.")
    ] = 1.0,
    as_json: _Json = False,
) -> None:
    """Measure how fast a place is.

    Writes of 2 KiB, 64 KiB and 1 MiB, a read, a lock, an update, and a lock
    that 1, 4 and 8 processes want (threads, in memory). It works in a folder
    of its own, exlab-store-bench- and 16 hex digits, that is removed
    afterwards; documents that are there are never touched. In a directory of
    this machine, the same is done by hand, in turns with the store. Takes
    about ten times --seconds.
    """
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.bench import run_bench

        run_bench(location, seconds=seconds, as_json=as_json)


@app.command("demo", epilog=_DEMO_EXAMPLES)
def _demo(
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="LOCATION",
            help="An existing place to work in, in a folder of the demo's own.  [default: a temporary directory]",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="N", min=0.1, max=86400, help="How long to work.")] = 3.0,
    writers: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Processes that write.")] = 4,
    readers: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Processes that read.")] = 2,
    as_json: _Json = False,
) -> None:
    """Show on this machine that nothing is torn and nothing is lost.

    Publishes a LIMS's answer as an offline catalogue, registers instruments
    from several processes at once, lets writers and readers work on the same
    documents, reads everything back, and counts. Exits with 1 if a reader saw
    a torn document, an update was lost, or a process failed. The documents
    are removed afterwards; those that were there before are never touched.
    """
    from exlab_store.cli.terminal import answering

    with answering(as_json=as_json):
        from exlab_store.cli.demo.command import run_demo

        run_demo(at, seconds=seconds, writers=writers, readers=readers, as_json=as_json)


def run() -> None:
    """Runs the command with the process's arguments.

    Raises:
        SystemExit: Always, with one of `ExitCode`.
    """
    import logging
    import sys

    from exlab_store.cli.exit_codes import ExitCode
    from exlab_store.cli.terminal import prepare_streams, say_unexpected

    prepare_streams()
    # Without a handler, Python prints what libraries log (each retry, say) among the command's own sentences.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        app(prog_name=_PROGRAM)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        say_unexpected(error)
        sys.exit(ExitCode.FAILED)
