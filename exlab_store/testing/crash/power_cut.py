"""The exact power cut: what a disk may hold when it stops at any moment, each possibility mounted and looked at.

A disk that loses power keeps what was written before the last flush, and of the writes since then any subset. So
from the log of a run: every prefix, and random subsets of the 4 KiB pieces that were written after the last flush.
"""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from exlab_store.opening.interpreter import own_interpreter
from exlab_store.testing.crash.block_log import BlockLog
from exlab_store.testing.crash.ledger import Notes
from exlab_store.testing.crash.mounting import attached, forget_cached_blocks, logged, mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from exlab_store.testing.crash.file_systems import FileSystemKind
    from exlab_store.testing.crash.ledger import Loss
    from exlab_store.testing.crash.programs import Program

__all__ = ["Cut", "Recording", "Seen", "broken_promises", "images", "recorded"]

T = TypeVar("T")

_PIECE = 4096

# Not -m: runpy warns of a module that its package has imported already.
_WRITER = "from exlab_store.testing.crash.writer import main; main()"


class Recording(NamedTuple):
    """A run of writers on a logged disk.

    Attributes:
        kind: The file system.
        base: The disk as it was at first.
        log: What the disk saw.
        notes: What was begun and acknowledged.
    """

    kind: FileSystemKind
    base: Path
    log: BlockLog
    notes: Notes


class Cut(NamedTuple):
    """One possible disk.

    Attributes:
        seen: How many entries of the log the disk saw.
        subset: The seed of the random subset of what it saw after the last flush; None if it kept all.
    """

    seen: int
    subset: int | None


class Seen(NamedTuple, Generic[T]):
    """What was found on one possible disk.

    Attributes:
        cut: Which disk.
        found: What the look returned.
    """

    cut: Cut
    found: T


@contextmanager
def recorded(
    kind: FileSystemKind,
    writers: Sequence[Program],
    prepare: Callable[[Path], None] | None = None,
    *,
    options: str = "",
) -> Generator[Recording]:
    """Runs writers on a new, logged disk.

    Args:
        kind: The file system.
        writers: Functions that take the mounted directory and a `Ledger`; all run at the same time.
        prepare: Given the mounted directory before the log begins.
        options: Further mount options.

    Yields:
        The recording; its files last as long as the context.

    Raises:
        CannotTest: A program or a right is missing.
        RuntimeError: A writer failed.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exlab-store-cut-", dir=_memory())))
        base, log, notes = directory / "base", directory / "log", directory / "notes"
        point = directory / "mounted"
        point.mkdir()
        kind.create(base)
        if prepare is not None:
            with attached(base) as device, mounted(device, point, kind.name, kind.options):
                prepare(point)
        with logged(base, log) as disk, attached(disk) as device:
            mount_options = ",".join(filter(None, (kind.options, options)))
            with mounted(device, point, kind.name, mount_options):
                _run(writers, point, notes, log)
        entries = BlockLog(log)
        yield Recording(kind, base, entries, Notes(notes, entries))


def _run(writers: Iterable[Program], place: Path, notes: Path, log: Path) -> None:
    processes = [
        subprocess.Popen(  # noqa: S603  # our own module
            [own_interpreter(), "-c", _WRITER, str(program.file), program.function, str(place), str(notes), str(log)],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for program in writers
    ]
    try:
        said = [process.communicate()[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if any(process.returncode for process in processes):
        raise RuntimeError("a writer failed: " + "".join(said))


def _memory() -> str | None:
    """A directory in memory, where flushing an image costs nothing; None where there is none."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  # a private directory is made in it


def _chosen(recording: Recording, count: int, seed: int) -> list[Cut]:
    """Every prefix if there are enough images, else a random half; the others are subsets."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    entries = recording.log.entries
    first = next((at for at, entry in enumerate(entries) if entry.data is not None), 0)
    prefixes = range(first, len(entries) + 1)
    chosen = list(prefixes) if len(prefixes) <= count // 2 else chance.sample(prefixes, count // 2)
    cuts = [Cut(seen, None) for seen in chosen]
    # A subset differs from a prefix only where something was written since the last flush.
    pending = [at for at in prefixes if at and entries[at - 1].data is not None] or [0]
    cuts += [Cut(chance.choice(pending), chance.getrandbits(32)) for _ in range(count - len(cuts))]
    return sorted(cuts, key=lambda cut: (cut.seen, cut.subset or -1))


class _Disk:
    """The disk of a recording, moved forwards through the log."""

    def __init__(self, recording: Recording) -> None:
        self._entries = recording.log.entries
        self._size = recording.kind.size
        self._stable = mmap.mmap(-1, self._size)
        self._filled: set[int] = set()
        self._flushed = 0
        with open(recording.base, "rb") as base:
            nothing = bytes(_PIECE << 4)
            for start in range(0, self._size, len(nothing)):
                part = base.read(len(nothing))
                if part != nothing:
                    self._stable[start : start + len(part)] = part
                    self._filled.update(range(start // _PIECE, (start + len(part) - 1) // _PIECE + 1))

    def write(self, cut: Cut, image: int) -> None:
        """Makes a file hold what the disk holds after a cut; cuts come in order."""
        start = self._flush_until(cut.seen)
        os.ftruncate(image, 0)
        os.ftruncate(image, self._size)
        with memoryview(self._stable) as stable:
            for first, end in _runs(self._filled):
                os.pwrite(image, stable[first * _PIECE : end * _PIECE], first * _PIECE)
        chance = None if cut.subset is None else random.Random(cut.subset)  # noqa: S311  # no secret
        share = None if chance is None else chance.choice((0.1, 0.5, 0.5, 0.9))
        for offset, data in self._entries[start : cut.seen]:
            if data is None:
                continue
            if chance is None or share is None:
                os.pwrite(image, data, offset)
                continue
            for at in range(0, len(data), _PIECE):
                if chance.random() < share:
                    os.pwrite(image, data[at : at + _PIECE], offset + at)

    def _flush_until(self, seen: int) -> int:
        """Carries out all writes before the last flush that was seen, and gives the entry after that flush."""
        last = seen
        while last > self._flushed and self._entries[last - 1].data is not None:
            last -= 1
        for offset, data in self._entries[self._flushed : last]:
            if data:
                self._stable[offset : offset + len(data)] = data
                self._filled.update(range(offset // _PIECE, (offset + len(data) - 1) // _PIECE + 1))
        self._flushed = max(last, self._flushed)
        return self._flushed


def _runs(pieces: set[int]) -> Iterator[tuple[int, int]]:
    ordered = sorted(pieces)
    if not ordered:
        return
    first = end = ordered[0]
    for piece in ordered:
        if piece > end:
            yield first, end
            first = piece
        end = piece + 1
    yield first, end


def images(recording: Recording, look: Callable[[Path], T], *, count: int = 200, seed: int = 0) -> Iterator[Seen[T]]:
    """Mounts possible disks, one after the other, and looks at each.

    Args:
        recording: Of `recorded`, whose context is still entered.
        look: Given the mounted directory; called once for each image.
        count: How many images. Half of them are prefixes of the log, each once, or fewer if it has fewer.
        seed: Of the choice.

    Yields:
        What was found. An image that cannot be mounted raises instead.

    Raises:
        OSError: The file system refuses to mount an image: it is broken itself.
    """
    kind = recording.kind
    disk = _Disk(recording)
    with tempfile.TemporaryDirectory(prefix="exlab-store-image-", dir=_memory()) as directory:
        point, file = Path(directory, "mounted"), Path(directory, "image")
        point.mkdir()
        image = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(image, kind.size)
            with attached(file) as device:
                for cut in _chosen(recording, count, seed):
                    disk.write(cut, image)
                    forget_cached_blocks(device)
                    with mounted(device, point, kind.name, kind.options, read_only=True):
                        found = look(point)
                    yield Seen(cut, found)
        finally:
            os.close(image)


def broken_promises(
    recording: Recording, read: Callable[[Path, str], bytes | None], *, count: int = 200, seed: int = 0
) -> list[Seen[list[Loss]]]:
    """Looks for lost and torn documents on possible disks.

    Args:
        recording: Of `recorded`.
        read: Given the mounted directory and a document's key: its bytes, or None if it is not there.
        count: How many images.
        seed: Of the choice.

    Returns:
        The images on which at least one promise is broken.
    """
    notes = recording.notes

    def look(place: Path) -> dict[str, bytes | None]:
        return {name: read(place, name) for name in notes.names}

    broken: list[Seen[list[Loss]]] = []
    for cut, found in images(recording, look, count=count, seed=seed):
        losses = notes.losses(cut.seen, found)
        if losses:
            broken.append(Seen(cut, losses))
    return broken
