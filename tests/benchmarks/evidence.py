"""Whether an acknowledged write survives a power cut, and whether readers see torn data: asked of each contender.

For the first, strace shows which files and directories a write has synchronised when it returns: the new data, and,
where a file was renamed, the directory, whose entry is otherwise still in memory. For the second, one process writes
documents of 1 MiB of one byte each, and another reads them and looks for two different bytes, or for too few.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from writers import all_writers, writer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from traced_lines import whole_calls

__all__ = ["Evidence", "gather"]

_CALLS = "fsync,fdatasync,rename,renameat,renameat2,link,linkat,access,faccessat,faccessat2"
_LINE = re.compile(r"(?:\d+\s+)?(?P<name>\w+)\((?P<arguments>.*)\)\s+= 0")
_PATH = re.compile(r"\d+<(?P<path>[^>]*)>")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_BEGUN, _ENDED = "/write-begins/", "/write-ends/"
_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of one contender.

    Attributes:
        file_synced: Whether a file was synchronised before the write returned; None where strace cannot trace.
        renamed: Whether a file was renamed or linked to its name.
        directory_synced: Whether a directory was synchronised after that.
        reads: How many reads there were while another process wrote.
        torn: How many of them gave a mixture, a part, or nothing.
    """

    file_synced: bool | None
    renamed: bool
    directory_synced: bool
    reads: int
    torn: int

    @property
    def survives(self) -> bool | None:
        """Whether an acknowledged replacement of a document survives a power cut."""
        if self.file_synced is None:
            return None
        return self.file_synced and (self.directory_synced or not self.renamed)


def gather(directory: str, seconds: float) -> dict[str, Evidence]:
    """Watches each contender that is installed."""
    names = [found.name for found in all_writers(f"{directory}/listing")[0]]
    synced = _synced(names, directory)
    return {name: Evidence(*synced[name], *_torn(name, f"{directory}/torn", seconds)) for name in names}


def _synced(names: list[str], directory: str) -> dict[str, tuple[bool | None, bool, bool]]:
    strace = shutil.which("strace")
    nothing: dict[str, tuple[bool | None, bool, bool]] = dict.fromkeys(names, (None, False, False))
    with tempfile.NamedTemporaryFile(prefix="exlab-store-bench-", suffix=".strace") as log:
        if strace is None or subprocess.run([strace, "-o", log.name, "true"], capture_output=True).returncode:
            return nothing
        command = [strace, "-f", "-y", "-s", "200", "-o", log.name, "-e", f"trace={_CALLS}"]
        subprocess.run([*command, sys.executable, __file__, "once", f"{directory}/once", *names], check=True)
        lines = list(whole_calls(Path(log.name).read_text().splitlines()))
    return {name: _judged(lines, number, f"{directory}/once") for number, name in enumerate(names)}


def _judged(lines: list[str], number: int, directory: str) -> tuple[bool | None, bool, bool]:
    begin = next(place for place, line in enumerate(lines) if f'{_BEGUN}{number}"' in line)
    end = next(place for place, line in enumerate(lines) if f'{_ENDED}{number}"' in line)
    file_synced = renamed = directory_synced = False
    for line in lines[begin:end]:
        call = _LINE.search(line)
        if call is None:
            continue
        path = _PATH.match(call["arguments"])
        if call["name"] in {"fsync", "fdatasync"} and path is not None:
            is_directory = os.path.isdir(path["path"])
            file_synced |= not is_directory and not renamed
            directory_synced |= is_directory and renamed
        elif call["name"].startswith(("rename", "link")) and directory in "".join(_QUOTED.findall(call["arguments"])):
            renamed = True
    return file_synced, renamed, directory_synced


def _torn(name: str, directory: str, seconds: float) -> tuple[int, int]:
    reads = torn = 0
    reader = writer(name, directory)
    reader.write(bytes(_SIZE))
    with subprocess.Popen(
        [sys.executable, __file__, "forever", directory, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            reads += 1
            try:
                data = reader.read()
            except Exception:  # of any kind, as each library has its own: there was no document
                torn += 1
                continue
            torn += len(data) != _SIZE or data.count(data[:1]) != _SIZE
        process.communicate(b"")
    return reads, torn


def _once(directory: str, names: list[str]) -> None:
    """One replacement by each, between two calls that name it."""
    for number, name in enumerate(names):
        found = writer(name, directory)
        found.write(b"0" * 2048)
        found.write(b"1" * 2048)
        os.access(f"{_BEGUN}{number}", os.F_OK)
        found.write(b"2" * 2048)
        os.access(f"{_ENDED}{number}", os.F_OK)


def _forever(directory: str, name: str) -> None:
    """Writes until standard input ends."""
    import threading

    found = writer(name, directory)
    over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    number = 0
    while not over.is_set():
        number += 1
        found.write(bytes([number % 256]) * _SIZE)
        if number == 1:
            print("begun", flush=True)


if __name__ == "__main__":
    _, action, where, *rest = sys.argv
    if action == "once":
        _once(where, rest)
    else:
        _forever(where, *rest)
