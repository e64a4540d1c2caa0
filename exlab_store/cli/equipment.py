"""``exlab-store equipment``: register an instrument and show what is registered."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from exlab_store import as_document
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import one_line, sentence
from exlab_store.cli.terminal import print_json, say, show
from exlab_store.documents import EquipmentCacheWriter, EquipmentJson

if TYPE_CHECKING:
    from rich.table import Table

    from exlab_store import StorePath
    from exlab_store.hidden_location import HiddenLocation

__all__ = ["register_equipment", "show_equipment"]


def register_equipment(location: HiddenLocation, payload: EquipmentJson, *, lock_timeout: float, as_json: bool) -> None:
    """Writes ``equipment.json`` and prints it as it is now stored.

    Args:
        location: Where the document goes.
        payload: What it shall say.
        lock_timeout: Seconds to wait for its lock.
        as_json: Print JSON.

    Raises:
        StoreError: It cannot be written.
    """
    path = as_document(resolved(location))
    writer = EquipmentCacheWriter(lock_timeout=lock_timeout)
    # A corrupt document is kept aside with a warning in the log, and this command has no other log.
    logging.getLogger("exlab_store").addHandler(_Warnings())

    async def register() -> EquipmentJson:
        await writer.write_equipment(path, payload)
        return await writer.read_equipment(path)

    _print(path, asyncio.run(register()), as_json=as_json)


def show_equipment(location: HiddenLocation, *, as_json: bool) -> None:
    """Prints an ``equipment.json``.

    Args:
        location: Where it is.
        as_json: Print JSON.

    Raises:
        StoreError: It cannot be read.
    """
    path = as_document(resolved(location))
    _print(path, asyncio.run(EquipmentCacheWriter().read_equipment(path)), as_json=as_json)


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "store_operation"):
            return  # of the observer that logs operations; what fails for good is an error of the command
        say(f"Warning: {sentence(record.getMessage())}")


def _print(path: StorePath, equipment: EquipmentJson, *, as_json: bool) -> None:
    if as_json:
        print_json(equipment)
    else:
        show(_table(path, equipment))


def _table(path: StorePath, equipment: EquipmentJson) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "Instrument": equipment.id,
        "Label": equipment.label,
        "Local root": equipment.configured_local_root,
        "NAS root": equipment.configured_nas_root,
        "First seen": equipment.first_seen_at,
        "Last modified": equipment.last_modified_at,
        "Schema version": equipment.schema_version,
        "Document": str(path),
    }
    for name, value in rows.items():
        table.add_row(Text(name, style="dim"), Text(one_line(value)))
    return table
