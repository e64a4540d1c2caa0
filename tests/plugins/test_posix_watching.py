"""Told of changes in a local directory, by the kernel."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import waiting
from conftest import lacking
from exlab_store_posix.inotify import Inotify
from watched_writers import median_delay, told_of_all

from exlab_store import BackendUnavailable, Change, ChangeStream, open_store, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store import Store

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")

ONE = version_of(b"1")
PATIENCE = 60.0
NEVER = 3600.0  # an interval: what is found is told by the kernel
POLLED = """
import pathlib, sys
from exlab_store import open_store

with open_store(sys.argv[1]) as store, store.watch(timeout=50, interval=0.01) as stream:
    pathlib.Path(sys.argv[1], "a").write_bytes(b"1")
    print(stream.mode, next(stream).key)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    root.mkdir()
    return root


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    with open_store(root) as opened:
        if opened.guarantees.watch != "pushed":
            pytest.skip("the directory for temporary files is on a file system of which the kernel tells nothing")
        yield opened


@pytest.fixture
def begin(store: Store) -> Callable[..., ChangeStream]:
    def watch(prefix: str = "", **options: object) -> ChangeStream:
        stream = store.watch(prefix, timeout=PATIENCE, interval=NEVER, **options)  # type: ignore[arg-type]
        assert stream.mode == "pushed"
        return stream

    return watch


def _told(stream: ChangeStream, count: int) -> set[tuple[str, str]]:
    return {(change.kind, change.key) for change in islice(stream, count)}


def _write(path: Path, data: bytes = b"1") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _inotify_descriptors() -> int:
    return sum(
        os.readlink(f"/proc/self/fd/{number}") == "anon_inode:inotify"
        for number in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{number}")
    )


def test_a_folder_that_is_renamed_is_told_with_all_that_is_in_it(
    begin: Callable[..., ChangeStream], root: Path
) -> None:
    _write(root / "a/b/c.json")
    with begin() as stream:
        (root / "a").rename(root / "z")
        assert _told(stream, 2) == {("deleted", "a/b/c.json"), ("written", "z/b/c.json")}
        _write(root / "z/b/d.json")
        _write(root / "a/b/c.json")
        assert _told(stream, 2) == {("written", "z/b/d.json"), ("written", "a/b/c.json")}


def test_a_folder_that_comes_from_elsewhere_and_goes_away_is_told(
    begin: Callable[..., ChangeStream], root: Path, tmp_path: Path
) -> None:
    _write(tmp_path / "elsewhere/b/c.json")
    with begin() as stream:
        (tmp_path / "elsewhere").rename(root / "a")
        assert next(stream) == Change("a/b/c.json", "written", ONE)
        (root / "a").rename(tmp_path / "elsewhere")
        assert next(stream) == Change("a/b/c.json", "deleted")
        _write(tmp_path / "elsewhere/b/c.json", b"2")  # of no interest any more
        _write(root / "d.json")
        assert next(stream).key == "d.json"


def test_no_document_is_lost_between_the_making_of_its_folder_and_the_watch_of_that(
    begin: Callable[..., ChangeStream], root: Path
) -> None:
    keys = {f"{number}/deep/er/document" for number in range(200)}
    with begin() as stream:
        maker = f"for number in range(200): p = Path({str(root)!r}, str(number), 'deep/er/document'); "
        maker += "p.parent.mkdir(parents=True); p.write_bytes(b'1')"
        process = subprocess.Popen([sys.executable, "-c", f"from pathlib import Path\n{maker}"])
        found: set[str] = set()
        for change in stream:
            found.add(change.key)
            if found == keys:
                break
        assert process.wait(PATIENCE) == 0
    assert found == keys


def test_a_folder_that_does_not_exist_yet_is_watched_and_again_when_it_is_made_anew(
    begin: Callable[..., ChangeStream], root: Path
) -> None:
    with begin("a/b") as stream:
        _write(root / "a/c/other")
        for _ in range(2):
            _write(root / "a/b/c.json")
            assert next(stream).key == "a/b/c.json"
            (root / "a/b/c.json").unlink()
            (root / "a/b").rmdir()
            assert next(stream) == Change("a/b/c.json", "deleted")


def test_what_is_ignored_is_not_told(begin: Callable[..., ChangeStream], root: Path) -> None:
    with begin() as stream:
        for name in ("#recycle/a.json", "a/@eaDir/b.json", "a/.DS_Store", "a/c.json"):
            _write(root / name)
        assert next(stream).key == "a/c.json"


def test_when_the_kernel_has_lost_count_everything_is_looked_at(begin: Callable[..., ChangeStream], root: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip("the kernel keeps more notices here than a test makes")
    with begin() as stream:
        (root / "0.lock").touch()
        for number in range(limit // 2 + 100):  # two notices each
            (root / f"{number}.lock").rename(root / f"{number + 1}.lock")
        _write(root / "new/a.json")
        assert next(stream).key == "new/a.json"
        _write(root / "new/b.json")
        assert next(stream).key == "new/b.json"


def test_a_directory_that_is_gone_is_an_outage_and_watched_on_when_it_is_back(
    begin: Callable[..., ChangeStream], root: Path, tmp_path: Path
) -> None:
    with begin() as stream:
        root.rename(tmp_path / "gone")
        with pytest.raises(BackendUnavailable):
            next(stream)
        (tmp_path / "gone").rename(root)
        _write(root / "a")
        assert next(stream).key == "a"


def test_a_directory_whose_folder_was_renamed_is_an_outage_too(tmp_path: Path) -> None:
    _write(tmp_path / "site/lab/a")
    with (
        open_store(tmp_path / "site/lab", retry=None) as store,
        store.watch(timeout=PATIENCE, interval=NEVER) as stream,
    ):
        (tmp_path / "site").rename(tmp_path / "gone")
        with pytest.raises(BackendUnavailable):
            next(stream)


def test_a_document_that_is_a_link_is_looked_at_by_and_by(store: Store, root: Path, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"0")
    (root / "link").symlink_to(tmp_path / "target")
    with store.watch(timeout=PATIENCE, interval=0.01) as stream:
        (tmp_path / "target").write_bytes(b"1")
        assert next(stream) == Change("link", "written", ONE)


def test_a_document_that_becomes_a_link_during_the_watch_is_looked_at_from_then_on(
    store: Store, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "target").write_bytes(b"0")
    with store.watch(timeout=PATIENCE, interval=0.01) as stream:
        (root / "link").symlink_to(tmp_path / "target")
        assert next(stream).key == "link"
        (tmp_path / "target").write_bytes(b"1")
        assert next(stream) == Change("link", "written", ONE)


def test_where_the_system_has_no_more_instances_the_directory_is_polled(root: Path) -> None:
    # In a user namespace with a limit of its own: to take all of this account's would take them from other tests, and
    # any of those may give one back in that moment.
    none_left = 'echo 0 >/proc/sys/user/max_inotify_instances && exec "$@"'
    alone = ["unshare", "--user", "--map-root-user", "sh", "-c", none_left]
    if subprocess.run([*alone, "sh", "true"], capture_output=True, check=False).returncode:
        lacking("run the tests where accounts may make user namespaces, and set their limits in /proc/sys/user")
    watching = [sys.executable, "-c", POLLED, str(root)]
    ran = subprocess.run([*alone, "sh", *watching], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ran.returncode, ran.stdout) == (0, "polled a\n"), ran.stderr
    assert "tells of no more folders" in ran.stderr


def test_where_a_new_folder_is_one_too_many_the_directory_is_polled_from_then_on(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Inotify, path: str, *, follow: bool = False) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    with store.watch(timeout=PATIENCE, interval=0.01) as stream:
        monkeypatch.setattr(Inotify, "add", refuse)
        _write(root / "new/a")
        assert next(stream).key == "new/a"
        assert stream.mode == "polled"


def test_a_watch_that_ends_or_is_dropped_gives_its_descriptor_back(store: Store) -> None:
    gc.collect()  # what other tests have left
    before = _inotify_descriptors()
    closed, dropped = store.watch(), store.watch()
    assert _inotify_descriptors() == before + 2
    closed.close()
    assert _inotify_descriptors() == before + 1
    del dropped
    gc.collect()
    waiting.eventually(lambda: _inotify_descriptors() == before)


def test_a_read_and_a_write_of_a_store_that_is_not_watched_do_not_load_the_watch() -> None:
    program = (
        "import sys, tempfile; from exlab_store import open_store; s = open_store(tempfile.mkdtemp());"
        "s.atomic_write('a', b''); s.read_snapshot('a'); s.list_keys();"
        "print([name for name in sys.modules if 'watching' in name or 'inotify' in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("changes", [90, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_last_state_of_every_document_is_told_and_none_is_invented(
    begin: Callable[..., ChangeStream], root: Path, changes: int
) -> None:
    with begin() as stream:
        told, wrong = told_of_all(stream, str(root), {}, changes)
    assert wrong == []
    assert told > changes / 10


@pytest.mark.slow
def test_half_of_all_changes_are_told_within_50_ms(begin: Callable[..., ChangeStream], store: Store) -> None:
    with begin() as stream:
        assert median_delay(stream, store) < 0.05
