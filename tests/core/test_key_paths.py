"""What a path says of its key, which is what `pathlib` says of the same name."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from exlab_store import InvalidKey, Store, StorePath, open_store

KEYS = ["a.json", "runs/2026/a.tar.gz", ".hidden", "folder/.exlab-wizard", "no-suffix", "Büro/ä.json"]


@pytest.fixture
def store() -> Store:
    return open_store("memory://")


@pytest.mark.parametrize("key", KEYS)
def test_the_parts_of_a_path_are_those_of_pathlib(store: Store, key: str) -> None:
    path, same = store / key, PurePosixPath(key)
    assert (path.name, path.stem, path.suffix, path.parts) == (same.name, same.stem, same.suffix, same.parts)


@pytest.mark.parametrize("key", KEYS)
def test_a_path_with_another_suffix_is_the_one_of_pathlib(store: Store, key: str) -> None:
    for suffix in ("", ".bak", ".tar.xz"):
        assert (store / key).with_suffix(suffix).key == str(PurePosixPath(key).with_suffix(suffix))


@pytest.mark.parametrize("suffix", ["bak", "."])
def test_a_suffix_that_is_none_is_refused(store: Store, suffix: str) -> None:
    with pytest.raises(ValueError, match=r"suffix|dot"):
        (store / "a.json").with_suffix(suffix)


def test_parents_lead_to_the_store_itself_which_is_its_own_parent(store: Store) -> None:
    path = store / "a/b.json"
    assert path.parent == store / "a"
    assert path.parent.parent == store.root == store.root.parent
    assert (store.root.key, store.root.parts, store.root.name) == ("", (), "")


def test_below_the_store_itself_are_the_keys_of_the_store(store: Store) -> None:
    assert store.root / "a" / "b.json" == store / "a/b.json" == store.root.joinpath("a", "b.json")
    assert (store / "a").joinpath("b", "c/d") == store / "a/b/c/d"
    assert (store / "a").joinpath() == store / "a"


def test_what_is_no_key_is_refused_wherever_a_path_is_made(store: Store) -> None:
    path = store / "a.json"
    for make in (
        lambda: path / "..",
        lambda: path / "",
        lambda: store.root / "",
        lambda: path.joinpath("b", "/c"),
        lambda: path.with_suffix(".lock"),
        lambda: store / "",
        lambda: StorePath(store, ""),
    ):
        with pytest.raises(InvalidKey):
            make()


def test_the_store_itself_is_no_document_and_has_no_name(store: Store) -> None:
    with pytest.raises(InvalidKey):
        store.root.read_snapshot()
    with pytest.raises(ValueError, match="no name"):
        store.root.with_name("b.json")


def test_the_way_from_a_folder_is_the_one_of_pathlib(store: Store) -> None:
    path = store / "runs/1/a.json"
    assert path.relative_to(store / "runs") == PurePosixPath("1/a.json")
    assert path.relative_to("runs/1") == PurePosixPath("a.json")
    assert path.relative_to(store.root) == path.relative_to("") == PurePosixPath("runs/1/a.json")
    for other in ("run", "runs/2", "runs/1/a.json/b"):
        with pytest.raises(ValueError, match=r"runs/1/a\.json"):
            path.relative_to(other)
    with pytest.raises(ValueError, match="two stores"):
        path.relative_to(open_store("memory://") / "runs")


def test_paths_of_one_store_are_compared_by_their_segments_as_those_of_pathlib(store: Store) -> None:
    keys = ["a/b", "a.json", "a", "b", "a b/c", "a/b/c", "A"]
    assert [path.key for path in sorted(store / key for key in keys)] == [
        str(path) for path in sorted(map(PurePosixPath, keys))
    ]
    assert store / "a" <= store / "a" < store / "b" > store / "a" >= store / "a"


def test_paths_of_two_stores_are_different_and_have_no_order(store: Store) -> None:
    other = open_store("memory://")
    assert store / "a" != other / "a"
    assert len({store / "a", store / "a", other / "a"}) == 2
    with pytest.raises(TypeError, match="one store"):
        _ = store / "a" < other / "b"


def test_paths_for_coroutines_have_the_same_parts(store: Store) -> None:
    path = store.aio / "runs" / "a.json"
    assert (path.parent.key, path.stem, path.with_suffix(".bak").key) == ("runs", "a", "runs/a.bak")
    assert path.parent.parent == store.aio.root == store.root.aio
    assert path == (store / "runs/a.json").aio
    assert path < store.aio / "runs/b.json"
    assert hash(path) == hash(store.aio / "runs/a.json")
    with pytest.raises(InvalidKey):
        path / ".."


def test_the_path_of_a_store_shows_its_location() -> None:
    with open_store("memory://lab/folder") as store:
        assert str(store.root) == "memory://lab/folder"
        assert str(store / "a") == "memory://lab/folder/a"
