"""What the tests of the doctor ask of an examination."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from conftest import lacking

from exlab_store import open_store
from exlab_store.doctor.bypass import LocalFiles, time_flushes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exlab_store.doctor import Examination, Finding

# Races of a twentieth of a second show whether a probe works; how much it sees is for the doctor's default of a second.
BRIEF = 0.05


def finding(examination: Examination, probe: str, *places: int) -> Finding:
    """The finding of a probe, at the first place unless told otherwise."""
    [found] = [each for each in examination.findings if each.probe == probe and each.places == (places or (0,))]
    return found


def outcomes(examination: Examination, *places: int) -> dict[str, str]:
    """The outcome of each probe, at the first place unless told otherwise."""
    return {each.probe: each.outcome for each in examination.findings if each.places == (places or (0,))}


def seen(examination: Examination, place: int = 0) -> dict[str, str]:
    """What was seen of each claim."""
    return {claim.guarantee: claim.seen for claim in examination.claims if claim.place == place}


def _flushes(directory: Path) -> bool:
    """Whether a flush takes any time there: a container's file system may be in memory, and a disk may be pretended."""
    dirty, clean = time_flushes(LocalFiles(str(directory)), "flush.bin", 8 << 20, 5, 1.0)
    (directory / "flush.bin").unlink()
    return min(dirty) - min(clean) > 1.5


@contextmanager
def on_a_disk() -> Iterator[Path]:
    """A directory on a disk, which others may enter: what is flushed there takes its time."""
    for place in (tempfile.gettempdir(), "/var/tmp", str(Path(__file__).parents[2] / ".cache")):
        if not os.path.isdir(place):
            continue
        directory = Path(tempfile.mkdtemp(prefix="exlab-store-doctor-test-", dir=place))
        directory.chmod(0o755)
        try:
            with open_store(directory) as store:
                durable = store.guarantees.durable
            if durable and _flushes(directory):
                yield directory
                return
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    lacking("no directory for temporary files is on a local disk that flushes")
