"""What a look costs an SMB client, what the server is asked for, and folders that are deleted on a share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from exlab_store_smb.wire import messages
from foreign_handles import program
from shared_samba import BOTH, empty, running_server
from wire_proxy import WireProxy

from exlab_store import BackendUnavailable, FolderItem, FolderNotEmpty, LockTimeout, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter


@pytest.fixture(scope="module", params=BOTH)
def samba(request: pytest.FixtureRequest) -> Iterator[SambaServer]:
    with running_server(request.param) as server:
        yield server


@pytest.fixture(autouse=True)
def empty_share(samba: SambaServer) -> None:
    empty(samba)


@pytest.fixture
def wire(samba: SambaServer) -> Iterator[WireProxy]:
    with WireProxy("127.0.0.1", samba.port) as proxy:
        yield proxy


@pytest.fixture
def lab(samba: SambaServer, wire: WireProxy) -> Iterator[Store]:
    with open_store(samba.url(port=wire.port), password=samba.password, timeout=4.0) as store:
        yield store


def test_a_look_at_a_document_is_one_round_trip_whatever_its_size(wire: WireProxy, lab: Store) -> None:
    lab.atomic_write("a.json", b"1" * (1 << 20))
    with wire.counting() as count:
        assert lab.stat("a.json").size == 1 << 20
    assert count.round_trips == 1


def test_the_time_of_a_document_comes_with_its_bytes(samba: SambaServer, lab: Store) -> None:
    lab.atomic_write("a.json", b"1")
    modified = (samba.root / "a.json").stat().st_mtime
    assert lab.read_snapshot("a.json").modified == pytest.approx(modified, abs=1e-5)
    assert lab.stat("a.json").modified == pytest.approx(modified, abs=1e-5)
    lab.update("a.json", lambda data: (data or b"") * (2 << 20))
    assert lab.read_snapshot("a.json").modified == lab.stat("a.json").modified


def test_a_folder_with_sizes_costs_as_much_as_one_without(samba: SambaServer, wire: WireProxy, lab: Store) -> None:
    for number in range(300):
        (samba.root / f"{number:03}").write_bytes(b"1" * number)
    lab.stat("000")
    with wire.counting() as count:
        wire.delay = 0.05  # what is sent together overlaps
        found = [*lab.list_folder(stat=True)]
    assert [(item.key, item.size) for item in found] == [(f"{number:03}", number) for number in range(300)]
    assert count.round_trips <= 2


def test_the_server_leaves_out_the_names_that_do_not_fit(samba: SambaServer, wire: WireProxy, lab: Store) -> None:
    for run in range(20):
        folder = samba.root / "runs" / f"{run}" / ".exlab"
        folder.mkdir(parents=True)
        (folder / "creation.json").touch()
    for number in range(3000):
        (samba.root / "runs" / "7" / f"picture {number:04}.tif").touch()
    with wire.counting() as count:
        wire.delay = 0.05  # what is sent together overlaps
        found = lab.list_keys("runs", pattern="*/.exlab/creation.json")
    assert found == sorted(f"runs/{run}/.exlab/creation.json" for run in range(20))
    # A message that opens and one that closes each of 41 folders: the pictures' names would take as many again.
    assert count.requests <= 2 * 41 + 4
    assert count.round_trips <= 12


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.json", ["a.json", "A.JSON.json", ".json", "ä.json"]),
        ("?.json", ["a.json", "\N{MICROSCOPE}.json", "ab.json"]),
        ("[ab].*", ["a.x", "b.", "c.x"]),
        ("a*.*", ["a.x", "ab", "b.x"]),
        ("*", ["a", "a.b"]),
        ("Größe*", ["Größe.json", "Groesse.json"]),
        ("~*1.*", ["~x1.json"]),
        ("PROGRA~1", ["program files", "PROGRA~1"]),
    ],
)
def test_a_pattern_means_on_the_server_what_it_means_here(
    samba: SambaServer, lab: Store, pattern: str, names: list[str]
) -> None:
    for name in names:
        (samba.root / name).touch()
    with open_store(samba.root) as here:
        assert lab.list_matching("", pattern) == here.list_matching("", pattern)


def test_folders_that_vanish_while_they_are_searched_are_left_out(samba: SambaServer, lab: Store) -> None:
    lab.atomic_write("runs/1/a.json", b"1")
    (samba.root / "runs" / "2").mkdir()
    assert lab.list_keys(pattern="runs/*/a.json") == ["runs/1/a.json"]
    assert [*lab.list_folder("runs")] == [FolderItem("runs/1", "folder"), FolderItem("runs/2", "folder")]
    (samba.root / "runs" / "2").rmdir()
    assert lab.list_keys(pattern="runs/2/a.json") == []


def test_a_search_ends_where_the_server_falls_silent(wire: WireProxy, lab: Store) -> None:
    lab.atomic_write("runs/1/a.json", b"1")
    wire.black_hole()
    looks = (lambda: lab.stat("a"), lambda: lab.list_folder("runs"), lambda: lab.list_keys(pattern="*/*/a.json"))
    with ThreadPoolExecutor() as at_once:  # as each takes the whole timeout
        for looking in [at_once.submit(look) for look in looks]:
            with pytest.raises(BackendUnavailable):
                looking.result()


# Folders that are deleted


def test_a_folder_is_not_deleted_while_a_program_on_the_server_holds_a_lock(samba: SambaServer, lab: Store) -> None:
    lab.atomic_write("run/a.json", b"1")
    with open_store(samba.root) as here, here.lock("run/a.json") as held:
        with pytest.raises(LockTimeout):
            lab.delete_folder("run")
        held.ensure_held()
    assert lab.list_keys() == ["run/a.json"]
    lab.delete_folder("run")
    assert not (samba.root / "run").exists()


def test_a_folder_in_which_a_program_has_a_temporary_file_open_stays(samba: SambaServer, lab: Store) -> None:
    name = "b.json.tmp.4711.0123456789abcdef"
    lab.atomic_write("run/a.json", b"1")
    (samba.root / "run" / name).touch()
    with program(samba) as other:
        handle = other.open(f"run\\{name}")
        with pytest.raises(FolderNotEmpty) as refused:
            lab.delete_folder("run")
        handle.close()
    assert refused.value.left == (name,)
    lab.delete_folder("run")
    assert not (samba.root / "run").exists()


def test_a_folder_that_was_removed_before_the_answer_was_lost_is_deleted(
    samba: SambaServer, wire: WireProxy, lab: Store
) -> None:
    (samba.root / "run").mkdir()
    lab.stat("run")
    with wire.counting() as count:
        (samba.root / "other").mkdir()
        lab.delete_folder("other")
    wire.cut_at(count.requests - 2, "reply_lost")
    lab.delete_folder("run")
    assert not (samba.root / "run").exists()


def test_a_refused_lock_leaves_the_document_closed(samba: SambaServer, lab: Store) -> None:
    """Samba 4.22 opens the document for a chain whose lock file it has refused, and refuses to close it."""
    lab.update("run/a.json", lambda _: b"1")
    lab.update("run/a.json", lambda _: b"2")
    with program(samba) as other:
        alone = other.open("run\\a.json.lock", messages.open_lock_file_to_remove)
        with pytest.raises(LockTimeout):
            lab.update("run/a.json", lambda _: b"3", timeout=0.1)
        assert samba.holder_pids(samba.root / "run" / "a.json") == []
        alone.close()
    lab.delete("run/a.json")
