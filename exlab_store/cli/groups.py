"""The commands that stand in groups: ``catalogue``, ``equipment`` and ``config``."""

from __future__ import annotations

from typing import Annotated

import typer

from exlab_store.cli import examples
from exlab_store.cli.grammar import AsJson, Config, Document, answered, named, new_app

__all__ = ["catalogue", "config", "equipment"]

catalogue = new_app("Publish and show an offline catalogue of LIMS projects.", examples.CATALOGUE_EXAMPLES)
equipment = new_app("Register an instrument and show what is registered.", examples.EQUIPMENT_EXAMPLES)
config = new_app("Show and check the site's configuration, exlab-store.toml.", examples.CONFIG_EXAMPLES)

_Endpoint = Annotated[
    str, typer.Option("--endpoint", metavar="URL", callback=named, help="The LIMS that the projects are from.")
]


@catalogue.command("publish", epilog=examples.CATALOGUE_EXAMPLES)
@answered
def _catalogue_publish(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help='The LIMS\'s answer, {"data": [...]}: a file, or - for stdin.')
    ],
    location: Document,
    endpoint: _Endpoint,
    produced_by: Annotated[
        str | None, typer.Option("--produced-by", metavar="NAME", help="This workstation.  [default: the host's name]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish the LIMS's answer as an offline catalogue."""
    from exlab_store.cli.catalogue import publish_catalogue

    publish_catalogue(source, location, endpoint, produced_by, as_json=as_json)


@catalogue.command("show", epilog=examples.CATALOGUE_EXAMPLES)
@answered
def _catalogue_show(location: Document, endpoint: _Endpoint, as_json: AsJson = False) -> None:
    """Show an offline catalogue.

    With --json, the whole document, metadata included.
    """
    from exlab_store.cli.catalogue import show_catalogue

    show_catalogue(location, endpoint, as_json=as_json)


@equipment.command("register", epilog=examples.EQUIPMENT_EXAMPLES)
@answered
def _equipment_register(
    location: Document,
    identifier: Annotated[str, typer.Option("--id", metavar="ID", callback=named, help="The instrument: CONFOCAL_01.")],
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What people call it.")],
    local_root: Annotated[
        str, typer.Option("--local-root", metavar="PATH", help="Where the workstation keeps its data.")
    ],
    nas_root: Annotated[str, typer.Option("--nas-root", metavar="PATH", help="Where the NAS keeps it.")],
    lock_timeout: Annotated[
        float,
        typer.Option("--lock-timeout", metavar="SECONDS", min=0, max=86400, help="How long to wait for the lock."),
    ] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Register an instrument, or change what is registered.

    The document is changed under its lock. Fields that this program does not
    know stay, and so does the time at which the instrument was first seen.
    """
    from exlab_store.cli.equipment import register_equipment
    from exlab_store.documents import EquipmentJson

    payload = EquipmentJson(id=identifier, label=label, configured_local_root=local_root, configured_nas_root=nas_root)
    register_equipment(location, payload, lock_timeout=lock_timeout, as_json=as_json)


@equipment.command("show", epilog=examples.EQUIPMENT_EXAMPLES)
@answered
def _equipment_show(location: Document, as_json: AsJson = False) -> None:
    """Show a registered instrument."""
    from exlab_store.cli.equipment import show_equipment

    show_equipment(location, as_json=as_json)


@config.callback()
def _config_top(config: Config = None) -> None:
    del config  # its callback has done what there was to do


@config.command("show", epilog=examples.CONFIG_EXAMPLES)
@answered
def _config_show(config: Config = None, as_json: AsJson = False) -> None:
    """Show what is in force, and where each value comes from.

    Passwords are neither read nor shown, and text among a backend's options
    is not shown either.
    """
    del config
    from exlab_store.cli.configuration import show_configuration

    show_configuration(as_json=as_json)


@config.command("check", epilog=examples.CONFIG_EXAMPLES)
@answered
def _config_check(
    stores: Annotated[
        list[str] | None, typer.Argument(metavar="@NAME", help="The stores to open.  [default: all]")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Open each store with its password, and check what it requires.

    Exits with the code of the failure if a store cannot be opened, and with
    1 if several differ.
    """
    del config
    from exlab_store.cli.configuration import check_configuration

    check_configuration(stores or [], as_json=as_json)
