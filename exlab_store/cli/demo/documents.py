"""The names of the demo's documents below its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.cli.demo.marked import INSTRUMENTS

if TYPE_CHECKING:
    from exlab_store import Store, StorePath

__all__ = ["Documents"]


class Documents:
    """The documents of one demo.

    Args:
        store: Where they are.
        folder: The key below which they are.
    """

    def __init__(self, store: Store, folder: str) -> None:
        self.record = store / folder / "record.json"
        self.counter = store / folder / "counter.json"
        self.catalogue = store / folder / ".exlab-wizard" / "lims-catalogue.json"
        self.equipment = {name: store / folder / name / ".exlab-wizard" / "equipment.json" for name in INSTRUMENTS}

    def all(self) -> list[StorePath]:
        """Every one of them."""
        return [self.record, self.counter, self.catalogue, *self.equipment.values()]
