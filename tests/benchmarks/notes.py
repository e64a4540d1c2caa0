"""What the figures of the page do not say by themselves."""

from __future__ import annotations

__all__ = ["NOTES"]

NOTES = """\
Notes:"""
