"""The doctor's own folder in the store that it examines."""

from __future__ import annotations

__all__ = ["FOLDER"]

FOLDER = "exlab-store-doctor-"
"""How its name begins."""
