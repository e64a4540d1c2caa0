"""``exlab-store catalogue``: publish and show an offline catalogue of LIMS projects."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Any

from exlab_store import DocumentInvalid, StorePath, as_document
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import one_line
from exlab_store.cli.sources import name_of, read_source
from exlab_store.cli.terminal import END_OF_INPUT, print_json, print_text, say, show
from exlab_store.documents import (
    OFFLINE_CATALOGUE_VERSION,
    LIMSProject,
    OfflineCatalogue,
    now,
    projects_from_lims,
    read_catalogue,
    write_catalogue,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from exlab_store.hidden_location import HiddenLocation

__all__ = ["publish_catalogue", "show_catalogue"]


def publish_catalogue(
    source: str, location: HiddenLocation, endpoint: str, produced_by: str | None, *, as_json: bool
) -> None:
    """Publishes the LIMS's answer as an offline catalogue.

    Args:
        source: A file with the answer, or ``-``.
        location: Where the catalogue goes.
        endpoint: The LIMS that gave the answer.
        produced_by: The workstation's name; None for the host's.
        as_json: Print JSON.

    Raises:
        StoreError: The source, or the location, cannot be used.
    """
    # Before the source is read: who types an answer in wants to know at once.
    path = as_document(resolved(location))
    if source == "-" and sys.stdin is not None and sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        say(f"Reading the LIMS's answer from the terminal; end it with {END_OF_INPUT}.")
    answer = read_source(source)
    moment = now()
    try:
        projects = projects_from_lims(answer, fetched_at=moment)
    except DocumentInvalid as error:
        error.location = name_of(source)
        raise
    catalogue = OfflineCatalogue(
        OFFLINE_CATALOGUE_VERSION, produced_by or platform.node() or "unknown", moment, endpoint, projects
    )
    write_catalogue(path, catalogue)
    if as_json:
        print_json({"location": str(path), "projects": len(projects)} | _header(catalogue))
    else:
        print_text(f"Published {_counted(catalogue)} as {one_line(str(path))}.\n")


def show_catalogue(location: HiddenLocation, endpoint: str, *, as_json: bool) -> None:
    """Prints an offline catalogue.

    Args:
        location: Where it is.
        endpoint: The LIMS that it must belong to.
        as_json: Print the whole document as JSON.

    Raises:
        StoreError: It cannot be read, or is another's.
    """
    path: StorePath = as_document(resolved(location))
    catalogue = read_catalogue(path, expected_endpoint=endpoint)
    if as_json:
        print_json(catalogue)
    else:
        show(*_rendered(catalogue))


def _header(catalogue: OfflineCatalogue) -> dict[str, Any]:
    names = ("schema_version", "produced_by", "produced_at", "lims_endpoint")
    return {name: getattr(catalogue, name) for name in names}


def _counted(catalogue: OfflineCatalogue) -> str:
    number = len(catalogue.projects)
    return f"{number} {'project' if number == 1 else 'projects'} of {one_line(catalogue.lims_endpoint)}"


def _rendered(catalogue: OfflineCatalogue) -> list[RenderableType]:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    by, at = one_line(catalogue.produced_by), one_line(catalogue.produced_at)
    summary = Text(f"{_counted(catalogue)}, published by {by or 'nobody named'} at {at or 'an unknown time'}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("Project", overflow="fold", max_width=14)
    # What wraps, wraps: a name that is cut off may be the wrong project's.
    table.add_column("Name and description", overflow="fold", ratio=3)
    table.add_column("Status", overflow="fold", max_width=10)
    table.add_column("Owner and contact", overflow="fold", ratio=2)
    for project in catalogue.projects:
        table.add_row(*_row(project))
    return [summary, table] if catalogue.projects else [summary]


def _row(project: LIMSProject) -> list[RenderableType]:
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    def two(first: str, second: str | None) -> RenderableType:
        if not second:
            return Text(one_line(first))
        # Indented, so that it is not taken for the rest of a name that wraps.
        return Group(Text(one_line(first)), Padding(Text(one_line(second), style="dim"), (0, 0, 0, 2)))

    return [
        Text(one_line(project.short_id)),
        two(project.name, project.description),
        Text(one_line(project.status)),
        two(project.owner, project.contact_name),
    ]
