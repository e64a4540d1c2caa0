"""The 500 projects of a LIMS that the demo publishes: made up, the same in every process, in several scripts."""

from __future__ import annotations

from exlab_store.documents import LIMSProject

__all__ = ["ENDPOINT", "sample_projects"]

ENDPOINT = "https://lims.lab.example/api/v1"

_COUNT = 500
# One moment for every process: the rows are compared.
_FETCHED_AT = "2026-05-05T14:23:00Z"
_METHODS = ("Confocal", "Light sheet", "Mass spec", "Plate reader", "Cryo-EM")
_SUBJECTS = ("cortex organoids", "老化モデル", "CRISPR screen", "липидные капли", "phage display", "Zellmembran")
_DESCRIPTIONS = ("", 'Line one.\nLine two with a "quote" and a \\ backslash.', "Pilot, see the protocol of the site.")
_CONTACTS = ("S. García", "L. Müller", "E. O'Neill", "A. Nguyen", "")


def sample_projects() -> list[LIMSProject]:
    """The projects, which come to about 150 kB of JSON."""
    return [_project(number) for number in range(1, _COUNT + 1)]


def _project(number: int) -> LIMSProject:
    return LIMSProject(
        f"{number:08x}-0000-4000-8000-{number * 2_654_435_761 % 2**48:012x}",
        f"PROJ-{number:04}",
        f"{_METHODS[number % 5]}: {_SUBJECTS[number % 6]} Q{1 + number % 4}",
        "Archived" if number % 7 == 0 else "Active",
        f"operator{number % 11}@lab.example",
        _FETCHED_AT,
        _DESCRIPTIONS[number % 3] or None,
        _CONTACTS[number % 5] or None,
        {"tier": "pilot", "site": "main"} if number % 2 else {},
    )
