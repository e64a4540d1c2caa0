"""A pattern of keys, ``*/measurements/*.json``: which keys fit, and which folders a search need not enter."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

__all__ = ["KeyPattern", "Position"]

Position: TypeAlias = "frozenset[int]"
"""How much of a pattern the way to a folder has used up: the numbers of the segments that may come next."""

_ANY_DEPTH: Final = "**"
_SIGNS: Final = re.compile(r"[*?[]")


class KeyPattern:
    """A pattern with the signs of `pathlib.Path.glob`; case counts, on every storage system.

    ``*`` stands for any part of a segment, ``?`` for one character, ``[seq]`` and ``[!seq]`` for one that is in the
    sequence or is not, and a segment ``**`` for any number of folders, none included. A ``**`` at the end stands for
    everything below.

    Args:
        text: Segments separated by ``/``; the pattern of keys as they are seen from a folder.

    Raises:
        ValueError: It is empty, or has a segment that no key has.
    """

    __slots__ = ("_fitting", "_segments", "_ways", "start", "text")

    text: str
    """The pattern as it was given."""
    start: Position
    """The position of the folder from which the keys are seen."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._segments = text.split("/")
        for segment in self._segments:
            if segment in {"", ".", ".."}:
                raise ValueError(f"the pattern {text!r} has the segment {segment!r}, which no key has")
            if _ANY_DEPTH in segment and segment != _ANY_DEPTH:
                raise ValueError(f"the pattern {text!r} has '**' beside other signs; it stands for whole folders")
        self._fitting = [_fitting(segment) for segment in self._segments]
        self._ways = [self._way(number) for number in range(len(self._segments))]
        self.start = self._reached([0])

    def below(self, position: Position, name: str) -> Position:
        """The position of a folder; empty if nothing below that folder can fit.

        Args:
            position: Of the folder that it is in.
            name: Its name.
        """
        reached: list[int] = []
        for number in position:
            if self._segments[number] == _ANY_DEPTH:
                reached.append(number)
            elif number + 1 < len(self._segments) and self._fitting[number].match(name):
                reached.append(number + 1)
        return self._reached(reached)

    def select(self, position: Position, names: Iterable[str]) -> list[str]:
        """The names of a folder whose keys fit.

        Args:
            position: Of the folder.
            names: Of documents, or of folders.
        """
        last = len(self._segments) - 1
        if last not in position:
            return []
        segment = self._segments[last]
        if segment == _ANY_DEPTH:
            return list(names)
        if not _SIGNS.search(segment):  # a tenth of the time, for a folder of many pictures
            return [segment] if segment in names else []
        return list(filter(self._fitting[last].match, names))

    def segments(self, position: Position) -> Sequence[str] | None:
        """What each name in a folder must fit, of which anything comes: patterns of one segment; None for no limit.

        Args:
            position: Of the folder.
        """
        wanted = {self._segments[number] for number in position}
        return None if _ANY_DEPTH in wanted else sorted(wanted)

    def way(self, position: Position) -> tuple[str, Position] | None:
        """The one way from a folder on which anything fits, as far as the pattern spells it out.

        Args:
            position: Of the folder.

        Returns:
            The way, such as ``a/b.json``, and the position of the folder at its end, which is empty where the pattern
            ends there; None where the next names are not spelt out.
        """
        if len(position) != 1:
            return None
        (number,) = position
        return self._ways[number]

    def _way(self, number: int) -> tuple[str, Position] | None:
        end = number
        while end < len(self._segments) and not _SIGNS.search(self._segments[end]):
            end += 1
        if end == number:
            return None
        return "/".join(self._segments[number:end]), self._reached([end]) if end < len(self._segments) else frozenset()

    def fits(self, key: str) -> bool:
        """Whether a key fits.

        Args:
            key: As it is seen from the folder.
        """
        *folders, name = key.split("/")
        position = self.start
        for folder in folders:
            position = self.below(position, folder)
            if not position:
                return False
        return bool(self.select(position, [name]))

    def _reached(self, numbers: Iterable[int]) -> Position:
        found: set[int] = set()
        for number in numbers:
            found.add(number)
            while self._segments[number] == _ANY_DEPTH and number + 1 < len(self._segments):
                number += 1
                found.add(number)
        return frozenset(found)

    def __repr__(self) -> str:
        return f"KeyPattern({self.text!r})"


@lru_cache(maxsize=256)
def _fitting(segment: str) -> re.Pattern[str]:
    return re.compile(translate(segment))
