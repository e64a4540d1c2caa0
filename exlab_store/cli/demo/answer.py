"""The LIMS's answer that the demo publishes: 500 projects, shipped with the package."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from exlab_store.documents import projects_from_lims

if TYPE_CHECKING:
    from exlab_store.documents import LIMSProject

__all__ = ["ENDPOINT", "sample_projects"]

ENDPOINT = "https://lims.lab.example/api/v1"

# One moment for every process: the rows are compared.
_FETCHED_AT = "2026-05-05T14:23:00Z"


def sample_projects() -> list[LIMSProject]:
    """The projects in the answer."""
    answer = (files("exlab_store.cli") / "lims_projects.json").read_bytes()
    return projects_from_lims(answer, fetched_at=_FETCHED_AT)
