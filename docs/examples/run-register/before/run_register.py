"""The runs of an instrument on a share: each has a folder with `.register/run.json`."""

import json
import os
import shutil
from pathlib import Path

from filelock import FileLock


class RunTaken(Exception):
    """Another workstation has the run."""


def _file(root: Path, run: str) -> Path:
    return root / run / ".register" / "run.json"


def _write(file: Path, record: dict) -> None:
    temporary = file.with_name(f"{file.name}.tmp.{os.getpid()}")
    temporary.write_text(json.dumps(record))
    os.replace(temporary, file)


def start(root: Path, run: str, operator: str) -> None:
    """Reserves a run for an operator."""
    file = _file(root, run)
    try:
        file.parent.mkdir(parents=True)
    except FileExistsError:
        raise RunTaken(run) from None
    _write(file, {"operator": operator, "state": "running", "notes": []})


def read(root: Path, run: str) -> dict | None:
    """What is known of a run; None for a run that nobody has started."""
    try:
        return json.loads(_file(root, run).read_text())
    except FileNotFoundError:
        return None


def add_note(root: Path, run: str, note: str) -> None:
    """Adds a note to a run."""
    file = _file(root, run)
    with FileLock(f"{file}.lock"):
        record = json.loads(file.read_text())
        record["notes"].append(note)
        _write(file, record)


def finish(root: Path, run: str) -> None:
    """Says that a run is over."""
    file = _file(root, run)
    with FileLock(f"{file}.lock"):
        record = json.loads(file.read_text())
        record["state"] = "finished"
        _write(file, record)


def runs(root: Path) -> list[str]:
    """The runs of the instrument, in order."""
    return sorted(file.parts[-3] for file in root.glob("*/.register/run.json"))


def remove(root: Path, run: str) -> None:
    """Removes a run from the register."""
    shutil.rmtree(_file(root, run).parent)
