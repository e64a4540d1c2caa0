"""The entry points that installed distributions offer, read from each distribution by itself.

`importlib.metadata.entry_points` reads all of them at once: one broken line in anybody's ``entry_points.txt`` fails it,
and an empty ``dist-info`` that an interrupted uninstall has left hides the distribution of the same name.

Of several distributions of one name, as a user's beside the system's, the first on the path counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from exlab_store.first_imports import import_whole
from exlab_store.opening.metadata import OWN, field_of, folder_name_of, normalised
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

__all__ = ["Offer", "offers_of"]

# What the wheel declares, for an application that was frozen without metadata. A test compares the two.
_BUNDLED: Final = {
    "exlab_store.backends": {
        "cifs": "exlab_store_smb:open_backend [smb]",
        "file": "exlab_store_posix:open_backend",
        "fsspec+*": "exlab_store_fsspec:open_backend [fsspec]",
        "memory": "exlab_store_memory:open_backend",
        "postgres": "exlab_store_postgresql:open_backend [postgresql]",
        "postgresql": "exlab_store_postgresql:open_backend [postgresql]",
        "s3": "exlab_store_s3:open_backend [s3]",
        "sftp": "exlab_store_sftp:open_backend [sftp]",
        "smb": "exlab_store_smb:open_backend [smb]",
    },
    "exlab_store.bypasses": {
        "cifs": "exlab_store_smb.bypass:open_bypass [smb]",
        "smb": "exlab_store_smb.bypass:open_bypass [smb]",
    },
    "exlab_store.observers": {
        "log": "exlab_store.observers:LogObserver",
        "otel": "exlab_store.observers:TraceObserver [otel]",
    },
}


class Offer(msgspec.Struct, frozen=True):
    """One entry point, or what should be one.

    Attributes:
        name: The entry point's name.
        value: What it points to: ``module:attribute [extra]``.
        group: The group that it is in.
        distribution: The name of the distribution that offers it.
        version: The distribution's version; empty text where that is not known.
        fault: Why it cannot be used, or None.
        passed_over: Name and version of each distribution of the same name that offers something else, and does not
            count as it stands further down the path.
    """

    name: str
    value: str
    group: str
    distribution: str
    version: str
    fault: str | None = None
    passed_over: tuple[str, ...] = ()

    @property
    def entry(self) -> EntryPoint:
        """What loads it."""
        from importlib.metadata import EntryPoint

        return EntryPoint(self.name, self.value, self.group)


def offers_of(group: str) -> list[Offer]:
    """What the installed distributions offer under a group, in the order in which they are found; each once.

    Args:
        group: The group's name.

    Returns:
        The entry points; those of this package also where its metadata is missing, as in a frozen application.
    """
    import_whole("importlib.metadata")  # 30 ms to import, and stores given as objects do without
    from importlib.metadata import distributions

    found: dict[str, list[_Offering]] = {}
    for distribution in distributions():
        text = _text_of(distribution)
        if text is None or group not in text:
            continue
        offering = _offering(distribution, text, group)
        if offering.offers:
            found.setdefault(normalised(offering.name), []).append(offering)
    offers = [offer for offerings in found.values() for offer in _first(offerings)]
    if OWN not in found:
        offers += [Offer(name, value, group, OWN, "") for name, value in _BUNDLED.get(group, {}).items()]
    return offers


class _Offering(msgspec.Struct, frozen=True):
    """What one distribution offers under the group; it is whole if its metadata has a name."""

    name: str
    version: str
    whole: bool
    offers: list[Offer]


def _offering(distribution: Distribution, text: str, group: str) -> _Offering:
    names, versions = field_of(distribution, "Name"), field_of(distribution, "Version")
    of_folder, version_of_folder = folder_name_of(distribution)
    name = names[0] if names else of_folder or "a distribution without a name"
    version = versions[0] if versions else version_of_folder
    return _Offering(name, version, bool(names), _parsed(text, group, name, version))


def _first(offerings: list[_Offering]) -> list[Offer]:
    """What counts of the distributions of one name: the first, and one without METADATA only where no other is."""
    first = next((offering for offering in offerings if offering.whole), offerings[0])
    others = [each for each in offerings if (each.version, each.offers) != (first.version, first.offers)]
    passed_over = tuple(dict.fromkeys(f"{each.name} {each.version}".strip() for each in others))
    return [msgspec.structs.replace(offer, passed_over=passed_over) for offer in first.offers]


def _text_of(distribution: Distribution) -> str | None:
    try:
        return distribution.read_text("entry_points.txt")
    except (OSError, ValueError) as error:  # it cannot be read, or is no UTF-8: somebody else's damage
        if came_from_signal_handler(error):
            raise
        return None


def _parsed(text: str, group: str, distribution: str, version: str) -> list[Offer]:
    """The lines of one group, each once; all others are none of ours."""
    from importlib.metadata import EntryPoint

    offers: dict[tuple[str, str], Offer] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1].strip()
        elif section == group and stripped and not stripped.startswith(("#", ";")):
            name, _, value = (part.strip() for part in stripped.partition("="))
            valid = bool(name) and EntryPoint.pattern.match(value) is not None
            fault = None if valid else f"line {number} of its entry_points.txt is no entry point: {stripped[:80]!r}"
            offer = Offer(name or stripped[:80], value, group, distribution, version, fault)
            offers.setdefault((offer.name, offer.value), offer)
    return list(offers.values())
