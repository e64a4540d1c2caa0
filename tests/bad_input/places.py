"""Places to keep documents that something is wrong with, and how a refusal has to look."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lacking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store import Store, StoreError

NOBODY = 65534
OLD = b'{"stored":"before"}'


def contents(place: Path) -> dict[str, bytes | str]:
    """Every document below a place with its bytes, and everything else by what it is; not the locks."""
    found: dict[str, bytes | str] = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            if not name.endswith(".lock"):
                found[name] = path.read_bytes()
        elif not path.is_dir():
            found[name] = "special file"
    return found


OPERATIONS: dict[str, Callable[[Store, str], object]] = {
    "read": lambda store, key: store.read_snapshot(key),
    "write": lambda store, key: store.atomic_write(key, b"{}"),
    "update": lambda store, key: store.update(key, lambda _: b"{}", timeout=1),
    "lock": lambda store, key: store.lock(key, timeout=1).release(),
    "delete": lambda store, key: store.delete(key),
    "list": lambda store, key: store.list_keys(key),
}


@dataclass
class Refusal:
    """What is known of an error, from this process or another one."""

    types: list[str]
    text: str
    key: str | None
    location: str | None
    hint: str | None
    errno: int | None

    @classmethod
    def of(cls, error: BaseException) -> Refusal:
        known = {name: getattr(error, name, None) for name in ("key", "location", "hint", "errno")}
        return cls([kind.__name__ for kind in type(error).__mro__], str(error), **known)

    def flaws(self, expected: type[StoreError], location: str, key: str, errno: int | None = None) -> list[str]:
        """How it differs from the error that the design names; empty if it does not."""
        flaws = []
        if expected.__name__ not in self.types:
            flaws.append(f"it is a {self.types[0]}, not a {expected.__name__}: {self.text}")
        if self.location != location:
            flaws.append(f"its location is {self.location!r}, not {location!r}")
        if self.key != (key or None):
            flaws.append(f"its key is {self.key!r}, not {key!r}")
        if not self.hint:
            flaws.append(f"it has no hint: {self.text}")
        if "OSError" in self.types and (self.errno is None if errno is None else self.errno != errno):
            flaws.append(f"its errno is {self.errno}, not {errno}")
        return flaws


def refusal(call: Callable[[], object]) -> Refusal:
    """The error that a call raises, whatever it is."""
    with pytest.raises(Exception) as caught:
        call()
    return Refusal.of(caught.value)


def probed(*arguments: object) -> Any:
    """The result of an operation in a process of its own, or a `Refusal`; see `probe.py`."""
    command = [sys.executable, str(Path(__file__).with_name("probe.py")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["result"] if "result" in found else Refusal(**found)


@contextmanager
def mounted(place: Path, *arguments: str) -> Iterator[Path]:
    """A file system on a place for a while."""
    done = subprocess.run(["mount", *arguments, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        lacking(f"run the tests where file systems may be mounted (a privileged container): {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
