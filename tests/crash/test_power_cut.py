"""The power cut, replayed from the log of the disk: what was acknowledged is there, on every disk it may leave."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import lacking

from exlab_store.testing.crash import (
    BTRFS,
    EXT4,
    XFS,
    CannotTest,
    FileSystemKind,
    Program,
    Recording,
    broken_promises,
    images,
    recorded,
)

if TYPE_CHECKING:
    from exlab_store.testing.crash import Loss, Seen

pytestmark = pytest.mark.one_interpreter

FILE = Path(__file__).with_name("power_cut_writers.py")
WRITERS = {
    "one writer": [Program(FILE, "life_of_documents")],
    "two writers": [Program(FILE, "one_of_two")] * 2,
}
WRONG = [
    (kind, function, loss)
    for kind in (EXT4, XFS, BTRFS)
    for function, loss in (
        ("without_the_file_s_fsync", "torn"),
        ("without_the_directory_s_fsync", "lost"),
        ("in_place", "torn"),
    )
]
# ext4 brings new directories along with the fsync of anything else. That the backend does not count on it is shown in
# test_promised_names.
WRONG += [(kind, "without_the_new_directories_fsync", "lost") for kind in (XFS, BTRFS)]

IMAGES = {EXT4: 120, XFS: 60, BTRFS: 80}

file_systems = pytest.mark.parametrize("kind", [EXT4, XFS, BTRFS], ids=lambda kind: kind.name)


def _read(place: Path, name: str) -> bytes | None:
    """Past the store, so that the two cannot be wrong together."""
    try:
        return (place / name).read_bytes()
    except FileNotFoundError:
        return None


def _after_cuts(
    kind: FileSystemKind, writers: list[Program], images: int, seed: int = 0
) -> tuple[Recording, list[Seen[list[Loss]]]]:
    try:
        with recorded(kind, writers) as recording:
            return recording, broken_promises(recording, _read, count=images, seed=seed)
    except CannotTest as reason:
        lacking(str(reason))
        raise


@file_systems
@pytest.mark.parametrize("writers", WRITERS)
def test_an_acknowledged_write_survives_every_cut(kind: FileSystemKind, writers: str) -> None:
    """First writes into new folders, rewrites and deletions; one process, and two that race."""
    recording, broken = _after_cuts(kind, WRITERS[writers], images=IMAGES[kind])
    assert recording.notes.acknowledgements == 60
    assert broken == []


@pytest.mark.parametrize(("kind", "wrong", "loss"), WRONG, ids=lambda value: getattr(value, "name", value))
def test_a_writer_that_is_wrong_is_found_out(kind: FileSystemKind, wrong: str, loss: str) -> None:
    _, broken = _after_cuts(kind, [Program(FILE, wrong)], images=40)
    assert loss in {found.kind for image in broken for found in image.found}


@pytest.mark.slow
@file_systems
@pytest.mark.parametrize("writers", WRITERS)
def test_an_acknowledged_write_survives_ten_thousand_cuts(kind: FileSystemKind, writers: str) -> None:
    """5,000 images of each of the two, from five runs, as no two runs of a file system write the same."""
    for seed in range(5):
        _, broken = _after_cuts(kind, WRITERS[writers], images=1000, seed=seed)
        assert broken == []


@pytest.mark.parametrize("failing", ["writer", "look"])
def test_nothing_stays_mounted_when_something_fails(failing: str) -> None:
    places: list[Path] = []

    def noted(place: Path) -> None:
        places.append(place)

    def failing_look(place: Path) -> None:
        places.append(place)
        raise ArithmeticError

    function = "that_fails" if failing == "writer" else "life_of_documents"
    try:
        with recorded(EXT4, [Program(FILE, function)], noted) as recording:
            next(images(recording, failing_look))
    except CannotTest as reason:
        lacking(str(reason))
    except (RuntimeError, ArithmeticError):
        pass
    assert len(places) == (1 if failing == "writer" else 2)
    attached = subprocess.run(["losetup", "--all"], capture_output=True, text=True, check=True).stdout
    for place in places:
        assert not place.parent.exists()
        assert str(place.parent) not in Path("/proc/self/mounts").read_text(encoding="utf-8") + attached
