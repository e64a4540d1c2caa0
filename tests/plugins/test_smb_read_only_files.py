"""Files that are marked read-only on the server: the error names the file, the mark, and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import smbclient
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.messages import open_to_read
from smb_logon import logged_on

from exlab_store import AccessDenied, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from samba_server import SambaServer

pytestmark = [pytest.mark.one_interpreter, pytest.mark.one_server]

KEY = "a.json"
READ_ONLY = 0x1  # [MS-FSCC 2.6]


@pytest.fixture
def store(samba: SambaServer) -> Iterator[Store]:
    with open_store(samba.url(user=False), **samba.options, timeout=20) as opened:
        yield opened


def make_read_only(samba: SambaServer, name: str) -> Path:
    """Makes a file that has the attribute, as Explorer or ``attrib +r`` gives it."""
    connections: dict[str, Any] = {}
    account: dict[str, Any] = {**samba.options, "port": samba.port, "connection_cache": connections}
    try:
        path = rf"\\127.0.0.1\{samba.share}\{name}"
        with logged_on(lambda: smbclient.open_file(path, "xb", file_attributes=READ_ONLY, **account)) as file:
            file.write(b"old")
    finally:
        smbclient.reset_connection_cache(connection_cache=connections)
    return samba.root / name


def files(samba: SambaServer) -> list[str]:
    return sorted(path.name for path in samba.root.iterdir())


def test_a_lock_file_is_named_with_its_mark_and_the_remedy(samba: SambaServer, store: Store) -> None:
    make_read_only(samba, f"{KEY}.lock")
    with pytest.raises(AccessDenied, match=r"'a\.json\.lock' is marked read-only") as caught:
        store.lock(KEY, timeout=0)
    assert "attrib -r" in str(caught.value.hint)


def test_an_update_names_the_lock_file_too(samba: SambaServer, store: Store) -> None:
    make_read_only(samba, f"{KEY}.lock")
    with pytest.raises(AccessDenied, match=r"'a\.json\.lock' is marked read-only"):
        store.update(KEY, lambda _: b"new")
    assert files(samba) == [f"{KEY}.lock"]


@pytest.mark.usefixtures("needs_root")
def test_a_lock_file_without_rights_is_named_and_is_not_said_to_be_marked(samba: SambaServer) -> None:
    samba.root.chmod(0o777)
    (samba.root / f"{KEY}.lock").touch(0o644)
    with (
        open_store(samba.url(user=False), **samba.add_account("guest")) as other,
        pytest.raises(AccessDenied, match=r"may not write its lock file 'a\.json\.lock'"),
    ):
        other.lock(KEY, timeout=0)


@pytest.mark.usefixtures("needs_root")
def test_a_lock_file_that_may_not_be_added_is_named(samba: SambaServer) -> None:
    samba.root.chmod(0o755)
    with (
        open_store(samba.url(user=False), **samba.add_account("reader")) as other,
        pytest.raises(AccessDenied, match=r"may not add its lock file 'a\.json\.lock'"),
    ):
        other.lock(KEY, timeout=0)


def test_a_document_that_is_not_deleted_is_said_to_be_marked(samba: SambaServer, store: Store) -> None:
    kept = make_read_only(samba, KEY)
    with pytest.raises(AccessDenied, match="marked read-only") as caught:
        store.delete(KEY)
    assert "attrib -r" in str(caught.value.hint)
    assert kept.read_bytes() == b"old"


def test_a_document_that_is_not_replaced_is_said_to_be_marked(samba: SambaServer, store: Store) -> None:
    # A Windows server never replaces one. Samba 4.17 does, but for the client that has it open itself.
    kept = make_read_only(samba, KEY)
    backend: Any = store._hooks._close.__self__  # type: ignore[attr-defined]
    backend._links.current(Deadline(10)).run([open_to_read(KEY)], Deadline(10))
    with pytest.raises(AccessDenied, match="marked read-only"):
        store.atomic_write(KEY, b"new")
    assert files(samba) == [KEY]
    assert kept.read_bytes() == b"old"


def test_samba_replaces_a_document_that_is_marked(samba: SambaServer, store: Store) -> None:
    kept = make_read_only(samba, KEY)
    store.atomic_write(KEY, b"new")
    assert kept.read_bytes() == b"new"
