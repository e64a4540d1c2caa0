"""Fixtures of these tests. A module that wants them says `pytest_plugins = ["bad_input_fixtures"]`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from places import OLD

from exlab_store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every account may enter, with one document; no temporary file may be left in it."""
    place = Path(tempfile.mkdtemp(prefix="exlab-store-")).resolve()
    place.chmod(0o755)
    (place / "doc.json").write_bytes(OLD)
    try:
        yield place
        left = [str(path) for path in place.rglob("*.tmp.*")]
        assert left == []
    finally:
        shutil.rmtree(place)


@pytest.fixture
def lab(place: Path) -> Iterator[Store]:
    """A store in that directory."""
    with open_store(place) as store:
        yield store
