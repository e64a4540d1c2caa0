"""Broken backends whose flaw is in what they tell of changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import flaws
from reference_files import FileBackend, LookingSource

from exlab_store import hookimpl, temporary_writer

FLAWS_OF_WATCHES: set[str] = set()


def flaw(name: str, *, caught_by: str) -> Callable[[type[FileBackend]], type[FileBackend]]:
    FLAWS_OF_WATCHES.add(name)
    return flaws.flaw(name, caught_by=caught_by)


def _watched_by(source: type[LookingSource]) -> Callable[[type[FileBackend]], type[FileBackend]]:
    def decorated(cls: type[FileBackend]) -> type[FileBackend]:
        @hookimpl
        def watch_changes(self: FileBackend, prefix: str) -> LookingSource:
            return source(self)

        cls.watch_changes = watch_changes  # type: ignore[method-assign,assignment]
        return cls

    return decorated


class ReconnectingSource(LookingSource):
    def after_cut(self) -> None:
        time.sleep(0.3)
        self.seen = self.look()


@flaw("change-lost-while-reconnecting", caught_by="test_changes_while_connections_are_cut_are_told")
@_watched_by(ReconnectingSource)
class LosesChangesWhileReconnecting(FileBackend):
    """It connects again by itself, and what happened in between nobody hears of."""


class SilentSource(LookingSource):
    silent = False

    def after_cut(self) -> None:
        self.silent = True

    def told(self, names: list[str]) -> list[str]:
        return [] if self.silent else super().told(names)


@flaw("silent-after-an-error", caught_by="test_changes_while_connections_are_cut_are_told")
@_watched_by(SilentSource)
class FallsSilent(FileBackend):
    """After an error it waits on, and tells nothing and nobody."""


class HastySource(LookingSource):
    def told(self, names: list[str]) -> list[str]:
        return [name.partition(".tmp.")[0] for name in names if temporary_writer(os.path.basename(name)) is not None]


@flaw("told-too-early", caught_by="test_the_source_names_documents_that_can_be_read_and_nothing_else")
@_watched_by(HastySource)
class TellsTooEarly(FileBackend):
    """It tells of a document when its temporary file is made, and not when it is there."""

    @contextmanager
    def committing(self) -> Iterator[None]:
        time.sleep(0.05)
        with super().committing():
            yield


class ChattySource(LookingSource):
    def told(self, names: list[str]) -> list[str]:
        return names


@flaw("told-of-temporaries", caught_by="test_the_source_names_documents_that_can_be_read_and_nothing_else")
@_watched_by(ChattySource)
class TellsOfTemporaries(FileBackend):
    """It tells of whatever file comes and goes."""


class FixedSource(LookingSource):
    def __init__(self, backend: FileBackend) -> None:
        super().__init__(backend)
        self.folders = [folder for folder, _, _ in os.walk(backend.root)]

    def told(self, names: list[str]) -> list[str]:
        there = [name for name in names if os.path.dirname(self.backend.path(name)) in self.folders]
        return super().told(there)


@flaw("deaf-to-new-folders", caught_by="test_a_watch_tells_of_documents_in_folders_that_are_made_meanwhile")
@_watched_by(FixedSource)
class IgnoresNewFolders(FileBackend):
    """It watches the folders that there are when it begins."""


class LateSource(LookingSource):
    def __init__(self, backend: FileBackend) -> None:
        super().__init__(backend)
        self.begun = False

    def wait(self, timeout: float, cancelled: Callable[[], bool]) -> list[str]:
        if not self.begun:
            self.begun, self.seen = True, self.look()
        return super().wait(timeout, cancelled)


@flaw(
    "watches-from-the-first-wait",
    caught_by="test_a_watch_tells_of_a_document_that_another_client_makes_replaces_and_deletes",
)
@_watched_by(LateSource)
class BeginsLate(FileBackend):
    """It begins to watch with the first wait, and not when it is asked to."""


class StubbornSource(LookingSource):
    def wait(self, timeout: float, cancelled: Callable[[], bool]) -> list[str]:
        return super().wait(timeout, lambda: False)


@flaw("watch-that-cannot-be-ended", caught_by="test_a_watch_ends_when_it_is_closed_cancelled_or_over")
@_watched_by(StubbornSource)
class WaitsToTheEnd(FileBackend):
    """Nobody can end its wait."""


class MuteSource(LookingSource):
    complete = False

    def told(self, names: list[str]) -> list[str]:
        return []


@_watched_by(MuteSource)
class LeavesItToTheCore(FileBackend):
    """It tells nothing, and says that it may not hear of everything: the core looks by itself."""


flaws.BACKENDS["mute-and-incomplete"] = LeavesItToTheCore
