"""Keys that differ in case only, in a folder that does not tell case apart: vfat, on Linux and as macOS sees it.

macOS is made of stand-ins for its system calls (see tests/plugins/as_macos.py); the folder is a real one for both.
"""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from exlab_store_posix.case_folding import _flags_of, folds_case
from exlab_store_posix.mounts import mount_of
from macos_process import result_on_macos

from exlab_store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.one_interpreter

PROGRAM: Final = """
import json, os
from exlab_store import ABSENT, StoreError, open_store
def of(call):
    try: return call()
    except StoreError as error: return [type(error).__name__, error.message]
store = open_store(folder)
"""


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("vfat")
    image, point = folder / "image", folder / "volume"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.vfat", str(image)], check=True, capture_output=True, timeout=60)
    subprocess.run(["mount", "-o", "loop,utf8", str(image), str(point)], check=True, timeout=60)
    yield point
    subprocess.run(["umount", str(point)], check=True, timeout=60)


@pytest.fixture
def folder(volume: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with one document, ``Run/Catalogue.json``."""
    found = volume / f"{abs(hash(request.node.name)):x}"
    found.mkdir()
    with open_store(found) as store:
        store.atomic_write("Run/Catalogue.json", b"1")
    return found


def as_linux(folder: Path, program: str) -> Any:
    """What a program gives as ``result``, of a store in a folder."""
    names: dict[str, Any] = {"folder": str(folder)}
    exec(PROGRAM + program, names)
    return json.loads(json.dumps(names["result"]))


def as_macos(folder: Path, program: str, **environment: str) -> Any:
    """The same, in a process that looks like one on macOS."""
    return result_on_macos(folder, PROGRAM + program, **environment)


systems = pytest.mark.parametrize("seen", [as_linux, partial(as_macos, FOLDS_CASE="1")], ids=["linux", "macos"])

KEYS: Final = {
    "run/Catalogue.json": "'run' is 'Run'",
    "Run/catalogue.json": "'catalogue.json' is 'Catalogue.json'",
    "RUN/CATALOGUE.JSON": "'RUN' is 'Run'",
    "run/new.json": "'run' is 'Run'",
}


@systems
def test_a_key_that_differs_in_case_is_refused_and_finds_nothing(folder: Path, seen: Callable[..., Any]) -> None:
    program = f"""
def outcomes(key):
    changes = [lambda: store.atomic_write(key, b"2"), lambda: store.atomic_write(key, b"2", expect=ABSENT),
        lambda: store.update(key, lambda _: b"2"), lambda: store.lock(key, timeout=5)]
    looks = [lambda: store.read_snapshot(key), lambda: store.stat(key), lambda: store.delete(key)]
    return [of(change) for change in changes], [of(look)[0] for look in looks]
result = {{key: outcomes(key) for key in {[*KEYS]!r}}}
"""
    before = [*map(str, os.walk(folder))]
    said = "in another spelling, which this directory does not tell apart"
    refused = {key: [[["InvalidKey", f"{spelt} {said}"]] * 4, ["DocumentNotFound"] * 3] for key, spelt in KEYS.items()}
    assert seen(folder, program) == refused
    assert [*map(str, os.walk(folder))] == before


@systems
def test_what_is_spelt_so_is_read_written_listed_and_deleted(folder: Path, seen: Callable[..., Any]) -> None:
    program = """
result = [store.list_keys("run"), list(store.list_folder("RUN")), store.list_matching("run", "*"),
    [each.name for each in store.list_leftovers("run")], of(lambda: store.delete_folder("run"))[0]]
key = "Run/Catalogue.json"
store.update(key, lambda old: old + b"2")
result.append(store.read_snapshot(key).data.decode())
store.atomic_write("Büro.json", b"3")
result.append(sorted(store.list_keys()))
store.delete(key)
store.delete_folder("Run")
result.append(store.list_keys())
"""
    assert seen(folder, program) == [[], [], [], [], "DocumentNotFound"] + [
        "12",
        ["Büro.json", "Run/Catalogue.json"],
        ["Büro.json"],
    ]


@systems
def test_a_document_behind_a_link_to_the_folder_is_found(
    folder: Path, tmp_path: Path, seen: Callable[..., Any]
) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert seen(tmp_path / "link", 'result = store.read_snapshot("Run/Catalogue.json").data.decode()') == "1"


def test_macos_is_asked_for_the_name_of_the_open_file_and_no_folder_is_listed(folder: Path) -> None:
    program = """
def refuse(path): raise AssertionError(path)
os.scandir = os.listdir = refuse
as_macos._as_stored = lambda path: path
result = [store.read_snapshot("Run/Catalogue.json").data.decode(), len(as_macos.asked)]
"""
    assert as_macos(folder, program, FOLDS_CASE="1") == ["1", 1]


def test_on_macos_nothing_is_asked_where_names_are_told_apart(tmp_path: Path) -> None:
    program = """
store.atomic_write("a.json", b"1"); store.atomic_write("A.json", b"2"); store.read_snapshot("a.json")
result = [sorted(store.list_keys()), as_macos.asked]
"""
    assert as_macos(tmp_path, program) == [["A.json", "a.json"], []]


def test_linux_is_asked_for_the_attributes_of_the_folder() -> None:
    """The kernels of the tests have no casefold; the attribute beside it (no dump) is read at the same place."""
    folder = Path("/mnt/export/attributes")
    folder.mkdir()
    assert _flags_of(str(folder)) & 0x40 == 0
    subprocess.run(["chattr", "+d", str(folder)], check=True, timeout=60)
    assert _flags_of(str(folder)) & 0x40
    assert not folds_case(str(folder), mount_of(str(folder)))


def test_a_folder_with_the_attribute_casefold_folds_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "ioctl", lambda *_: (0x4008_0000).to_bytes(8, "little"))
    assert folds_case(str(tmp_path), mount_of(str(tmp_path)))
