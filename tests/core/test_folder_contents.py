"""What goes along with a folder that is removed."""

from __future__ import annotations

import pytest

from exlab_store import FolderNotEmpty
from exlab_store.backend import removal_order

GOES_ALONG = ["a.json.lock", "b.json.tmp.12", "c.json.tmp.4711.0123456789abcdef", "d.json.ab12_xyz.tmp"]


def test_lock_files_come_before_temporary_files() -> None:
    names = [*reversed(GOES_ALONG), "z.lock"]
    assert removal_order(dict.fromkeys(names, True))[:2] == ["a.json.lock", "z.lock"]
    assert sorted(removal_order(dict.fromkeys(names, True))) == sorted(names)


@pytest.mark.parametrize("name", ["a.json", "notes.tmp.backup", "picture.tmp.0012", "lock", "a.lock.old"])
def test_anything_else_keeps_the_folder_and_is_named(name: str) -> None:
    with pytest.raises(FolderNotEmpty) as refused:
        removal_order(dict.fromkeys([*GOES_ALONG, name], True))
    assert refused.value.left == (name,)


@pytest.mark.parametrize("name", GOES_ALONG)
def test_a_folder_or_a_link_with_such_a_name_keeps_the_folder(name: str) -> None:
    with pytest.raises(FolderNotEmpty):
        removal_order({name: False})
