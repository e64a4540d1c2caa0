"""The common parts of the commands: the form of their answers, and the parameters that several of them take."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from exlab_store.hidden_location import HiddenLocation

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "PROGRAM",
    "AsJson",
    "Config",
    "Document",
    "Folder",
    "LockTimeout",
    "answered",
    "known_probes",
    "named",
    "new_app",
    "show_version",
    "well_formed_code",
]

PROGRAM: Final = "exlab-store"
_HELP_NAMES: Final = {"help_option_names": ["-h", "--help"]}


def new_app(text: str, epilog: str | None = None) -> typer.Typer:
    """An application or a group of commands, with plain help.

    Args:
        text: Its help.
        epilog: What stands below the help.
    """
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


def answered(command: Callable[..., None]) -> Callable[..., None]:
    """Has a command end with a sentence, or a line of JSON, and the exit code of its error.

    Args:
        command: Takes ``as_json`` by name.
    """

    @functools.wraps(command)
    def run(*, as_json: bool, **given: Any) -> None:
        from exlab_store.cli.terminal import answering

        with answering(as_json=as_json):
            command(as_json=as_json, **given)

    return run


def named(value: str) -> str:
    """Refuses an empty name.

    Args:
        value: What was typed.
    """
    if not value.strip():
        raise typer.BadParameter("it is empty.")
    return value


def show_version(asked: bool) -> None:
    """Prints the version and ends the command.

    Args:
        asked: Whether ``--version`` was given.
    """
    if asked:
        from exlab_store.cli.terminal import answering, print_text
        from exlab_store.opening.metadata import own_field

        with answering(as_json=False):
            versions = own_field("Version")
            print_text(f"{PROGRAM} {versions[0] if versions else '(of a version that is not known)'}\n")
        raise typer.Exit


def known_probes(names: list[str] | None) -> list[str]:
    """Refuses a probe that the doctor does not have.

    Args:
        names: What was typed.
    """
    from exlab_store.doctor.probes import PROBES

    unknown = [name for name in names or [] if name not in PROBES]
    if unknown:
        raise typer.BadParameter(f"there is no probe {unknown[0]!r}; there are {', '.join(sorted(PROBES))}.")
    return names or []


def well_formed_code(text: str | None) -> str | None:
    """Refuses a text that is no code of an examination.

    Args:
        text: What was typed.
    """
    if text is not None:
        from exlab_store.doctor.machines.codes import InvalidCode, parsed

        try:
            parsed(text)
        except InvalidCode as error:
            raise typer.BadParameter(f"{error}") from None
    return text


def _use(path: Path | None) -> None:
    if path is not None:
        from exlab_store.cli.places import use_configuration

        use_configuration(str(path))


Config = Annotated[
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
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Document = Annotated[
    HiddenLocation,
    typer.Argument(parser=HiddenLocation, metavar="LOCATION", help="The document: a URL, a path, or @name/document."),
]


LockTimeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0, max=86400, help="How long to wait for the document's lock."),
]


Folder = Annotated[
    HiddenLocation,
    typer.Argument(
        parser=HiddenLocation, metavar="LOCATION", help="A store, or a folder of one: a URL, a path, @name."
    ),
]
