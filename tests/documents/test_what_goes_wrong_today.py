"""Each row of section 6 of the formats: what goes wrong with the way this is done today, and does not go wrong here."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import filelock
import pytest
from conftest import lacking
from lab_documents import CATALOGUE, CONFOCAL, ENDPOINT, RUNS, TEST_RUNS, stored_catalogue, stored_equipment, stored_row
from system_calls import calls_of, missing_for_durability

from exlab_store import AccessDenied, ConfigError, LockTimeout, open_store
from exlab_store.documents import (
    EquipmentCacheWriter,
    SchemaMajorMismatchError,
    read_catalogue,
    write_catalogue,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def write_equipment(path: Path) -> None:
    anyio.run(EquipmentCacheWriter(lock_timeout=5).write_equipment, path, CONFOCAL)


def write_test_runs(path: Path) -> None:
    anyio.run(EquipmentCacheWriter(lock_timeout=5).write_test_runs_marker, path, TEST_RUNS)


def write_runs(path: Path) -> None:
    anyio.run(EquipmentCacheWriter(lock_timeout=5).write_runs_marker, path, RUNS)


def write_lims_catalogue(path: Path) -> None:
    write_catalogue(path, CATALOGUE)


WRITERS = [write_lims_catalogue, write_equipment, write_test_runs, write_runs]
REWRITERS = [write_lims_catalogue, write_equipment]

every_writer = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
every_rewriter = pytest.mark.parametrize("write", REWRITERS, ids=lambda write: write.__name__)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


# ------------------------------------------------------------------ row 1: mkstemp's mode 0600


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o027, 0o640), (0o077, 0o600)], ids=oct)
@every_writer
def test_row_1_a_new_document_has_the_mode_that_the_umask_leaves(
    tmp_path: Path, write: Callable[[Path], None], mask: int, mode: int
) -> None:
    with umask(mask):
        write(tmp_path / "document.json")
    assert mode_of(tmp_path / "document.json") == mode


@pytest.mark.parametrize("mode", [0o664, 0o640, 0o600, 0o666, 0o444], ids=oct)
@every_rewriter
def test_row_1_a_document_that_is_written_again_keeps_its_mode(
    tmp_path: Path, write: Callable[[Path], None], mode: int
) -> None:
    with umask(0o022):
        write(tmp_path / "document.json")
        (tmp_path / "document.json").chmod(mode)
        write(tmp_path / "document.json")
    assert mode_of(tmp_path / "document.json") == mode


def test_row_1_the_copy_of_a_corrupt_document_can_be_read_by_others_too(tmp_path: Path) -> None:
    (tmp_path / "equipment.json").write_bytes(b"{")
    with umask(0o022):
        write_equipment(tmp_path / "equipment.json")
    (copy,) = tmp_path.glob("*.corrupt-*")
    assert mode_of(copy) == 0o644


def test_row_1_a_group_that_may_write_documents_may_lock_them_whoever_locked_first(tmp_path: Path) -> None:
    tmp_path.chmod(0o775)
    with umask(0o077):
        write_equipment(tmp_path / "equipment.json")
    assert mode_of(tmp_path / "equipment.json.lock") & 0o060 == 0o060


# ------------------------------------------------------------------ row 2: no directory fsync

PUBLISH = """
import sys
from exlab_store.documents import LIMSProject, OfflineCatalogue, write_catalogue
row = LIMSProject("u", "PROJ-1", "n", "Active", "o", "2026-05-05T14:23:00Z", metadata={"x": "y" * 70000})
for rounds in range(int(sys.argv[2])):
    write_catalogue(sys.argv[1], OfflineCatalogue("1.0", "me", "", "e", [row] * rounds))
    print("acknowledged", flush=True)
"""

REGISTER = """
import anyio, sys
from exlab_store.documents import EquipmentCacheWriter, EquipmentJson
payload = EquipmentJson(id="a", label="b", configured_local_root="c", configured_nas_root="d")
for _ in range(int(sys.argv[2])):
    anyio.run(EquipmentCacheWriter().write_equipment, sys.argv[1], payload)
    print("acknowledged", flush=True)
"""

STORE = """
import os, sys
from exlab_store import open_store
folder, _, name = sys.argv[1].rpartition("/")
key = os.path.basename(folder) + "/" + name
with open_store(os.path.dirname(folder)) as store:
    for _ in range(int(sys.argv[2])):
        with store.lock(key) as held:
            store.atomic_write(key, b"{}", lock=held)
        print("acknowledged", flush=True)
"""

NAIVE = """
import os, sys
path, leave_out = sys.argv[1:]
folder = os.path.dirname(path)
def fsync_directory(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
os.mkdir(folder)
temporary = path + ".tmp"
descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT)
os.write(descriptor, b"{")
if leave_out == "last write":
    os.fsync(descriptor)
os.write(descriptor, b"}")
if leave_out not in ("file", "last write"):
    os.fsync(descriptor)
os.close(descriptor)
os.replace(temporary, path) if leave_out != "rename" else None
if leave_out != "directory":
    fsync_directory(folder)
if leave_out != "parent":
    fsync_directory(os.path.dirname(folder))
print("acknowledged", flush=True)
"""


@pytest.mark.parametrize("script", [PUBLISH, REGISTER], ids=["catalogue", "equipment"])
def test_row_2_a_first_write_into_new_directories_is_acknowledged_only_when_all_of_them_are_durable(
    tmp_path: Path, script: str
) -> None:
    target = str(tmp_path / "new" / "newer" / "newest" / "document.json")
    calls = calls_of(script, target, "1", log=tmp_path / "strace.log")
    assert missing_for_durability(calls, target) == []
    assert sum(call.name == "mkdir" for call in calls) == 3


@pytest.mark.parametrize("script", [PUBLISH, REGISTER], ids=["catalogue", "equipment"])
def test_row_2_every_later_write_is_acknowledged_only_when_it_is_durable(tmp_path: Path, script: str) -> None:
    target = str(tmp_path / "document.json")
    calls = calls_of(script, target, "3", log=tmp_path / "strace.log")
    assert missing_for_durability(calls, target) == []
    assert sum(call.name == "acknowledged" for call in calls) == 3


def test_row_2_a_directory_that_only_the_lock_has_made_is_durable_before_the_write_is_acknowledged(
    tmp_path: Path,
) -> None:
    target = str(tmp_path / "new" / "document.json")
    calls = calls_of(STORE, target, "1", log=tmp_path / "strace.log")
    assert missing_for_durability(calls, target) == []


@pytest.mark.parametrize("leave_out", ["file", "last write", "rename", "directory", "parent"])
def test_row_2_the_check_itself_finds_what_a_writer_leaves_out(tmp_path: Path, leave_out: str) -> None:
    target = str(tmp_path / "new" / "document.json")
    calls = calls_of(NAIVE, target, leave_out, log=tmp_path / "strace.log")
    assert len(missing_for_durability(calls, target)) == 1


def test_row_2_the_check_itself_accepts_a_writer_that_leaves_out_nothing(tmp_path: Path) -> None:
    target = str(tmp_path / "new" / "document.json")
    assert missing_for_durability(calls_of(NAIVE, target, "", log=tmp_path / "strace.log"), target) == []


# ------------------------------------------------------------------ row 3: temporary names collide


def test_row_3_two_writers_with_the_same_process_id_use_different_temporary_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 4242)
    sources = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda source, target: (sources.append(source), replace(source, target)))
    for _ in range(100):
        write_catalogue(tmp_path / "c.json", CATALOGUE)
    assert len({os.path.basename(source) for source in sources}) == 100


def test_row_3_the_temporary_file_that_a_dead_writer_with_this_process_id_has_left_is_in_nobodys_way(
    tmp_path: Path,
) -> None:
    left = tmp_path / f"c.json.tmp.{os.getpid()}"
    left.write_bytes(b"half a cata")
    write_catalogue(tmp_path / "c.json", CATALOGUE)
    assert left.read_bytes() == b"half a cata"


WITH_PID_4242 = """
import os, sys
os.getpid = lambda: 4242
import anyio
from exlab_store.documents import EquipmentCacheWriter, EquipmentJson
payload = EquipmentJson(id=sys.argv[2], label="x" * 5000, configured_local_root="c", configured_nas_root="d")
async def main():
    for _ in range(100):
        await EquipmentCacheWriter().write_equipment(sys.argv[1], payload)
anyio.run(main)
"""


def test_row_3_two_processes_with_the_same_id_register_one_instrument_and_no_write_fails(tmp_path: Path) -> None:
    file = tmp_path / "equipment.json"
    write_equipment(file)
    writers = [subprocess.Popen([sys.executable, "-c", WITH_PID_4242, str(file), me]) for me in "AB"]
    torn = []
    while any(writer.poll() is None for writer in writers):
        data = file.read_bytes()
        try:
            json.loads(data)
        except ValueError:
            torn.append(data)
    assert ([writer.returncode for writer in writers], torn) == ([0, 0], [])


# ------------------------------------------------------------------ row 4: what a newer program wrote


def test_row_4_a_rewrite_keeps_unknown_fields(tmp_path: Path) -> None:
    (tmp_path / "equipment.json").write_bytes(stored_equipment(serial="4711", owner={"name": "ada"}))
    write_equipment(tmp_path / "equipment.json")
    found = json.loads((tmp_path / "equipment.json").read_bytes())
    assert (found["serial"], found["owner"]) == ("4711", {"name": "ada"})


def test_row_4_a_rewrite_does_not_lower_1_3_to_1_0(tmp_path: Path) -> None:
    (tmp_path / "equipment.json").write_bytes(stored_equipment(schema_version="1.3"))
    write_equipment(tmp_path / "equipment.json")
    assert json.loads((tmp_path / "equipment.json").read_bytes())["schema_version"] == "1.3"


def test_row_4_a_2_0_document_is_not_overwritten(tmp_path: Path) -> None:
    second = stored_equipment(schema_version="2.0")
    (tmp_path / "equipment.json").write_bytes(second)
    with pytest.raises(SchemaMajorMismatchError):
        write_equipment(tmp_path / "equipment.json")
    assert (tmp_path / "equipment.json").read_bytes() == second


# ------------------------------------------------------------------ row 5: a corrupt document


def test_row_5_a_corrupt_document_is_kept_before_a_fresh_one_is_written(tmp_path: Path) -> None:
    (tmp_path / "equipment.json").write_bytes(b"\0" * 200)
    write_equipment(tmp_path / "equipment.json")
    assert [copy.read_bytes() for copy in tmp_path.glob("equipment.json.corrupt-*")] == [b"\0" * 200]


# ------------------------------------------------------------------ row 6: locks that wait for ever

HOLD_WITH_FILELOCK = """
import filelock, sys
with filelock.FileLock(sys.argv[1] + ".lock"):
    print("held", flush=True)
    sys.stdin.readline()
"""

HOLD_WITH_THIS_PACKAGE = """
import os, sys
from exlab_store import open_store
with open_store(os.path.dirname(sys.argv[1])) as store:
    with store.lock(os.path.basename(sys.argv[1]), purpose="re-sync"):
        print("held", os.getpid(), flush=True)
        sys.stdin.readline()
"""


@contextmanager
def another_process(script: str, path: Path) -> Iterator[int]:
    """Another process that holds the lock of a document; gives its process id."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("held")
        try:
            yield process.pid
        finally:
            process.communicate("done\n")


@pytest.mark.parametrize("script", [HOLD_WITH_FILELOCK, HOLD_WITH_THIS_PACKAGE], ids=["filelock", "exlab_store"])
def test_row_6_a_writer_gives_up_after_its_lock_timeout_and_the_document_stays(tmp_path: Path, script: str) -> None:
    file = tmp_path / "equipment.json"
    file.write_bytes(stored_equipment())
    with another_process(script, file), pytest.raises(LockTimeout):
        anyio.run(EquipmentCacheWriter(lock_timeout=0.2).write_equipment, file, CONFOCAL)
    assert file.read_bytes() == stored_equipment()


def test_row_6_a_lock_timeout_says_who_holds_the_lock_where_since_when_and_what_for(tmp_path: Path) -> None:
    file = tmp_path / "equipment.json"
    with another_process(HOLD_WITH_THIS_PACKAGE, file) as pid, pytest.raises(LockTimeout) as caught:
        anyio.run(EquipmentCacheWriter(lock_timeout=0.2).write_equipment, file, CONFOCAL)
    holder = caught.value.holder
    assert holder is not None
    assert (holder.pid, holder.host, holder.purpose) == (pid, os.uname().nodename, "re-sync")
    assert all(part in str(caught.value) for part in (holder.user, holder.host, str(pid), holder.since, "re-sync"))


def test_row_6_a_lock_timeout_names_no_holder_that_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "equipment.json"
    with another_process(HOLD_WITH_THIS_PACKAGE, file):
        pass
    with another_process(HOLD_WITH_FILELOCK, file), pytest.raises(LockTimeout) as caught:
        anyio.run(EquipmentCacheWriter(lock_timeout=0.2).write_equipment, file, CONFOCAL)
    assert caught.value.holder is None


def test_row_6_a_writer_keeps_a_filelock_out_while_it_writes(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:

        def change(_: bytes | None) -> bytes:
            with pytest.raises(filelock.Timeout):
                filelock.FileLock(tmp_path / "equipment.json.lock").acquire(timeout=0)
            return b"{}"

        store.update("equipment.json", change)


# ------------------------------------------------------------------ row 7: a malformed row


@pytest.mark.parametrize("row", [7, None, [], {}, stored_row(uid=None), stored_row(metadata="none")], ids=str)
def test_row_7_a_malformed_row_raises_the_documented_error(tmp_path: Path, row: object) -> None:
    (tmp_path / "c.json").write_bytes(stored_catalogue(projects=[stored_row(), row]))
    with pytest.raises(ConfigError, match=r"\[1\]"):
        read_catalogue(tmp_path / "c.json", expected_endpoint=ENDPOINT)


# ------------------------------------------------------------------ row 8: defaults are left out


@pytest.mark.parametrize(
    ("write", "kind"), [(write_test_runs, "test"), (write_runs, "experimental")], ids=["test_runs.json", "runs.json"]
)
def test_row_8_a_stored_marker_has_its_run_kind(tmp_path: Path, write: Callable[[Path], None], kind: str) -> None:
    write(tmp_path / "marker.json")
    assert json.loads((tmp_path / "marker.json").read_bytes())["run_kind"] == kind


@every_writer
def test_row_8_every_declared_field_is_stored(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "document.json")
    declared = {
        write_lims_catalogue: CATALOGUE,
        write_equipment: CONFOCAL,
        write_test_runs: TEST_RUNS,
        write_runs: RUNS,
    }
    stored = json.loads((tmp_path / "document.json").read_bytes())
    assert list(stored) == list(declared[write].__struct_fields__)


def test_row_8_the_nulls_of_a_row_are_stored(tmp_path: Path) -> None:
    write_catalogue(tmp_path / "c.json", CATALOGUE)
    (row,) = json.loads((tmp_path / "c.json").read_bytes())["projects"]
    assert (row["description"], row["contact_name"], row["metadata"]) == (None, None, {})


# ------------------------------------------------------------------ row 9: long names


@pytest.mark.parametrize("length", [200, 225, 229, 230, 240, 249, 250, 251, 254, 255])
@every_writer
def test_row_9_a_name_of_up_to_255_bytes_is_written_and_leaves_no_temporary_file(
    tmp_path: Path, write: Callable[[Path], None], length: int
) -> None:
    name = "x" * (length - 5) + ".json"
    write(tmp_path / name)
    write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == [name]


def test_row_9_a_name_is_never_cut_inside_a_character(tmp_path: Path) -> None:
    for length in range(80, 85):
        write_equipment(tmp_path / ("顕" * length + "x" * (255 - 3 * length)))
    for path in tmp_path.iterdir():
        assert path.name.encode()  # a cut character would be a surrogate, which cannot be encoded


def test_row_9_the_locks_of_two_long_names_with_the_same_beginning_are_two(tmp_path: Path) -> None:
    with open_store(tmp_path) as store, store.lock("x" * 254 + "a"), store.lock("x" * 254 + "b", timeout=0):
        pass


# ------------------------------------------------------------------ row 10: planted links


@every_writer
def test_row_10_a_link_at_the_targets_name_is_replaced_and_never_written_through(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"{}" if write in (write_test_runs, write_runs) else stored_equipment())
    before = victim.read_bytes()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "document.json").symlink_to(victim)
    write(tmp_path / "shared" / "document.json")
    assert victim.read_bytes() == before


@every_rewriter
def test_row_10_a_link_at_the_targets_name_becomes_a_file(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "document.json").symlink_to(tmp_path / "nowhere")
    write(tmp_path / "document.json")
    assert not (tmp_path / "document.json").is_symlink()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("there", [True, False], ids=["link to a file", "dangling link"])
def test_row_10_a_link_at_the_locks_name_is_refused(tmp_path: Path, there: bool) -> None:
    victim = tmp_path / "victim"
    if there:
        victim.write_bytes(b"precious")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "equipment.json.lock").symlink_to(victim)
    with pytest.raises(AccessDenied):
        write_equipment(tmp_path / "shared" / "equipment.json")
    assert [path.read_bytes() for path in (victim,) if path.exists()] == [b"precious"] * there


@every_rewriter
def test_row_10_a_link_at_the_temporary_files_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "shared").mkdir()
    monkeypatch.setattr(os, "urandom", bytes)  # all zeros: the name can be foretold
    planted = tmp_path / "shared" / f"document.json.tmp.{os.getpid()}.{'00' * 8}"
    planted.symlink_to(victim)
    with pytest.raises(AccessDenied):
        write(tmp_path / "shared" / "document.json")
    assert (victim.read_bytes(), planted.is_symlink()) == (b"precious", True)


def test_row_10_a_second_name_of_a_document_at_the_locks_name_does_not_cost_its_bytes(tmp_path: Path) -> None:
    victim = tmp_path / "other.json"
    victim.write_bytes(stored_equipment())
    try:
        (tmp_path / "equipment.json.lock").hardlink_to(victim)
    except OSError:
        lacking("run the tests on a file system that has hard links")
    with suppress(AccessDenied):
        write_equipment(tmp_path / "equipment.json")
    assert victim.read_bytes() == stored_equipment()
