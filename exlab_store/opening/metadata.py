"""What the metadata of an installed distribution says, where some of it, or all of it, is missing.

An interrupted uninstall leaves a ``dist-info`` without METADATA, which `importlib.metadata.version` answers with None.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from exlab_store.first_imports import import_whole
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from importlib.metadata import Distribution

__all__ = ["OWN", "field_of", "folder_name_of", "normalised", "own_field"]

OWN: Final = "exlab-store"


def own_field(field: str) -> list[str]:
    """The values of a field of this package's own metadata; none in a frozen application without metadata.

    Args:
        field: The field's name, as ``Version``.
    """
    import_whole("importlib.metadata")  # 30 ms to import
    from importlib.metadata import distributions

    for distribution in distributions(name=OWN):
        if field_of(distribution, "Name"):
            return field_of(distribution, field)
    return []


def field_of(distribution: Distribution, field: str) -> list[str]:
    """The values of a field; the metadata may lack it, and then the libraries raise what they like.

    Args:
        distribution: The distribution.
        field: The field's name, as ``Version``.
    """
    try:
        values = distribution.metadata.get_all(field)  # a missing key of a mapping is deprecated, and then an error
    except (KeyError, OSError, ValueError, TypeError, AttributeError) as error:
        if came_from_signal_handler(error):
            raise
        return []
    return [str(value) for value in values or []]


def folder_name_of(distribution: Distribution) -> tuple[str, str]:
    """Name and version as the ``dist-info`` folder has them [Recording installed projects]; empty where it has none.

    Args:
        distribution: The distribution.
    """
    # No public name leads to the folder; importlib.metadata itself takes the name of a distribution from there.
    folder = str(getattr(getattr(distribution, "_path", None), "name", ""))
    name, _, rest = folder.rpartition(".")[0].partition("-")
    return name, rest.partition("-")[0]


def normalised(name: str) -> str:
    """A distribution's name as it is compared [Names and normalization].

    Args:
        name: The name.
    """
    return re.sub(r"[-_.]+", "-", name).lower()
