"""The entry points that installed distributions offer, read from each distribution by itself.

`importlib.metadata.entry_points` reads all of them at once: one broken line in anybody's ``entry_points.txt`` fails it,
and an empty ``dist-info`` that an interrupted uninstall has left hides the distribution of the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

__all__ = ["FROZEN_ADVICE", "Offer", "offers_of"]

_OWN: Final = "exlab-store"

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

FROZEN_ADVICE: Final = (
    "This application is frozen: have it built with the metadata and the modules of every backend that it uses, as "
    "PyInstaller does with --copy-metadata and --hidden-import."
)


class Offer(msgspec.Struct, frozen=True):
    """One entry point, or what should be one.

    Attributes:
        name: The entry point's name.
        value: What it points to: ``module:attribute [extra]``.
        group: The group that it is in.
        distribution: The name of the distribution that offers it.
        version: The distribution's version; empty text where that is not known.
        fault: Why it cannot be used, or None.
    """

    name: str
    value: str
    group: str
    distribution: str
    version: str
    fault: str | None = None

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
    from importlib.metadata import distributions  # 30 ms to import, and stores given as objects do without

    found: dict[tuple[str, str, str], Offer] = {}
    own = False
    for distribution in distributions():
        text = _text_of(distribution)
        if text is None or group not in text:
            continue
        name, version = _identity(distribution)
        own = own or name == _OWN
        for offer in _parsed(text, group, name, version):
            found.setdefault((offer.name, name, offer.value), offer)
    if not own:
        for name, value in _BUNDLED.get(group, {}).items():
            found.setdefault((name, _OWN, value), Offer(name, value, group, _OWN, ""))
    return list(found.values())


def _text_of(distribution: Distribution) -> str | None:
    try:
        return distribution.read_text("entry_points.txt")
    except (OSError, ValueError) as error:  # it cannot be read, or is no UTF-8: somebody else's damage
        if came_from_signal_handler(error):
            raise
        return None


def _identity(distribution: Distribution) -> tuple[str, str]:
    """Name and version; the metadata of a distribution may lack either, and then the libraries raise what they like."""
    known: list[str] = []
    for field in ("Name", "Version"):
        try:
            values = distribution.metadata.get_all(field)  # a missing key of a mapping is deprecated, and then an error
        except (KeyError, OSError, ValueError, TypeError, AttributeError) as error:
            if came_from_signal_handler(error):
                raise
            values = None
        known.append(str(values[0]) if values else "")
    return known[0] or "a distribution without a name", known[1]


def _parsed(text: str, group: str, distribution: str, version: str) -> list[Offer]:
    """The lines of one group; all others are none of ours."""
    from importlib.metadata import EntryPoint

    offers: list[Offer] = []
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1].strip()
        elif section == group and stripped and not stripped.startswith(("#", ";")):
            name, _, value = (part.strip() for part in stripped.partition("="))
            valid = bool(name) and EntryPoint.pattern.match(value) is not None
            fault = None if valid else f"line {number} of its entry_points.txt is no entry point: {stripped[:80]!r}"
            offers.append(Offer(name or stripped[:80], value, group, distribution, version, fault))
    return offers
