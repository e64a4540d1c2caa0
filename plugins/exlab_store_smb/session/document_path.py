"""The names of a document and of its folder, on a share."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DocumentPath"]


@dataclass(frozen=True, slots=True)
class DocumentPath:
    """Where a document is.

    Attributes:
        folder: Its folder, ``/``-separated below the store's root.
        directory: The folder's name on the share.
        path: The document's name on the share.
    """

    folder: str
    directory: str
    path: str

    def beside(self, name: str) -> str:
        """The name on the share of another file in the same folder.

        Args:
            name: Its name.
        """
        return f"{self.directory}\\{name}" if self.directory else name

    @property
    def name(self) -> str:
        """The document's own name."""
        return self.path.rpartition("\\")[2]
