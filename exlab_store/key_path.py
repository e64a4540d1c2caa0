"""A key as a path: its parts, and the keys beside, above and below it; no store is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from exlab_store.first_imports import import_whole

if TYPE_CHECKING:
    from pathlib import PurePosixPath
    from typing import Self

__all__ = ["KeyPath"]


class KeyPath(ABC):
    """The part of `pathlib.PurePath` that keys have; `StorePath` and `AsyncStorePath` are such paths.

    The path of the store itself has the empty key: `parent` leads there, and it is its own parent.
    """

    __slots__ = ("_key",)

    _key: str

    @abstractmethod
    def _at(self, key: str) -> Self:
        """The path of another key; `InvalidKey` for one that is not valid."""

    @abstractmethod
    def _root(self) -> Self:
        """The path of the store itself."""

    @abstractmethod
    def _is_beside(self, other: KeyPath) -> bool:
        """Whether another path is one of the same store."""

    @property
    def key(self) -> str:
        """The key; empty text for the store itself."""
        return self._key

    @property
    def name(self) -> str:
        """The last segment of the key."""
        return self._key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self._pure.stem

    @property
    def suffix(self) -> str:
        """What the name ends with, from its last dot on; empty text where it has none."""
        return self._pure.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """The segments of the key."""
        return tuple(self._key.split("/")) if self._key else ()

    @property
    def parent(self) -> Self:
        """The path of the folder that this one is in."""
        folder = self._key.rpartition("/")[0]
        return self._at(folder) if folder else self._root()

    def joinpath(self, *names: str) -> Self:
        """The path of something below this one.

        Args:
            names: One segment or more each.

        Raises:
            InvalidKey: The key is not portable.
        """
        return self._at("/".join((self._key, *names) if self._key else names))

    def with_name(self, name: str) -> Self:
        """The path of a sibling.

        Args:
            name: Its name: one segment or more.

        Raises:
            ValueError: This is the path of the store itself.
            InvalidKey: The key is not portable.
        """
        if not self._key:
            raise ValueError(f"{self!r} has no name: it is the store itself")
        folder, slash, _ = self._key.rpartition("/")
        return self._at(folder + slash + name)

    def with_suffix(self, suffix: str) -> Self:
        """The path of a sibling with the same stem.

        Args:
            suffix: Its suffix with the dot; empty text for none.

        Raises:
            ValueError: It does not begin with a dot, or is one.
            InvalidKey: The key is not portable.
        """
        return self.with_name(self._pure.with_suffix(suffix).name)

    def relative_to(self, other: Self | str) -> PurePosixPath:
        """The way from a folder to here.

        Args:
            other: A path of the same store, or a key; empty text for the store itself.

        Raises:
            ValueError: This path is not below that one.
        """
        import_whole("pathlib")
        from pathlib import PurePosixPath

        if isinstance(other, KeyPath) and not self._is_beside(other):
            raise ValueError(f"{self!r} and {other!r} are of two stores")
        folder = other if isinstance(other, str) else other.key
        return PurePosixPath(self._key).relative_to(folder)

    @property
    def _pure(self) -> PurePosixPath:
        import_whole("pathlib")  # 4 ms to import, and many programs do without
        from pathlib import PurePosixPath

        return PurePosixPath(self.name)

    def __truediv__(self, name: str) -> Self:
        return self.joinpath(name)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._is_beside(other) and self._key == other.key

    def __hash__(self) -> int:
        return hash(self._key)

    def __lt__(self, other: Self) -> bool:
        return self._compared(other) and self.parts < other.parts

    def __le__(self, other: Self) -> bool:
        return self._compared(other) and self.parts <= other.parts

    def __gt__(self, other: Self) -> bool:
        return self._compared(other) and self.parts > other.parts

    def __ge__(self, other: Self) -> bool:
        return self._compared(other) and self.parts >= other.parts

    def _compared(self, other: object) -> bool:
        if type(other) is not type(self) or not self._is_beside(other):
            raise TypeError(f"{self!r} and {other!r} have no order: they are no paths of one store")
        return True
