"""Links of a DFS namespace: a store is opened where they lead, and what is done there is done on the target."""

from __future__ import annotations

import logging
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from exlab_store_smb.session import dfs

from exlab_store import AccessDenied, BackendUnavailable, LocationError, LockTimeout, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

KEY = "a.json"


@pytest.fixture
def namespace(samba: SambaServer) -> Path:
    """The folder of a share that is a root of DFS; its links are symbolic links with a certain text."""
    path = samba.directory / "namespace"
    samba.add_share("namespace", path, msdfs_root="yes")
    (samba.root / "folder").mkdir()
    return path


@pytest.fixture
def link(namespace: Path) -> Callable[..., None]:
    """Makes a link to some targets, ``server\\share``."""

    def make(name: str, *targets: str) -> None:
        (namespace / name).symlink_to("msdfs:" + ",".join(targets))

    return make


def opened(samba: SambaServer, *folder: str, share: str = "namespace", **options: Any) -> Store:
    return open_store(samba.url(*folder, user=False, share=share), **samba.options, **options)


@pytest.mark.parametrize("below", [(), ("folder",)], ids=["the link", "below the link"])
def test_a_store_at_a_link_is_a_store_at_its_target(
    samba: SambaServer, link: Callable[..., None], below: tuple[str, ...]
) -> None:
    link("link", r"127.0.0.1\lab")
    with opened(samba, "link", *below) as store:
        store.atomic_write(KEY, b"1")
        store.update(KEY, lambda current: (current or b"") + b"2")
        assert samba.root.joinpath(*below, KEY).read_bytes() == b"12"
        assert store.list_keys() == [KEY]
        store.delete(KEY)
        assert store.list_keys() == []


@pytest.mark.parametrize("below", [(), ("link",)], ids=["the root", "a link in it"])
def test_a_namespace_that_the_server_only_knows_of_is_followed_to_the_server_that_has_it(
    samba: SambaServer, link: Callable[..., None], below: tuple[str, ...]
) -> None:
    # As a domain's namespace: its server has no such share, and says which servers have. Samba's "proxy" does that.
    link("link", r"127.0.0.1\lab")
    target = r"\127.0.0.1\namespace" if below else r"\127.0.0.1\lab"
    samba.add_share("domain", samba.directory / "none", msdfs_root="yes", msdfs_proxy=target)
    with opened(samba, *below, share="domain") as store:
        store.atomic_write(KEY, b"1")
    assert (samba.root / KEY).read_bytes() == b"1"


def test_a_share_that_no_server_knows_of_is_still_called_missing(samba: SambaServer, namespace: Path) -> None:
    with pytest.raises(LocationError, match="the server has no share 'nowhere'"):
        opened(samba, share="nowhere")


def test_the_way_through_the_namespace_and_the_direct_one_exclude_each_other(
    samba: SambaServer, link: Callable[..., None]
) -> None:
    link("link", r"127.0.0.1\lab")
    with opened(samba, "link") as through, opened(samba, share="lab") as direct:
        with through.lock(KEY), pytest.raises(LockTimeout):
            direct.lock(KEY, timeout=0)
        with direct.lock(KEY), pytest.raises(LockTimeout):
            through.lock(KEY, timeout=0)
        assert through.atomic_write(KEY, b"1") == direct.read_snapshot(KEY).version

        def count(store: Store) -> None:
            for _ in range(15):
                store.update("n", lambda current: b"%d" % (int(current or b"0") + 1))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count, [through, direct] * 2))
        assert direct.read_snapshot("n").data == b"60"


def test_a_link_that_leads_to_a_link_is_followed(samba: SambaServer, link: Callable[..., None]) -> None:
    link("first", r"127.0.0.1\namespace\second")
    link("second", r"127.0.0.1\lab")
    with opened(samba, "first", "folder") as store:
        store.atomic_write(KEY, b"1")
    assert (samba.root / "folder" / KEY).read_bytes() == b"1"


def test_links_that_lead_to_each_other_are_an_error(samba: SambaServer, link: Callable[..., None]) -> None:
    link("first", r"127.0.0.1\namespace\second")
    link("second", r"127.0.0.1\namespace\first")
    with pytest.raises(LocationError, match="come to no end"):
        opened(samba, "first")


@pytest.mark.parametrize("dead", [r"127.0.0.9\lab", r"127.0.0.1\missing"], ids=["no server", "no share"])
def test_the_first_target_that_can_be_opened_is_taken(
    samba: SambaServer, link: Callable[..., None], dead: str, caplog: pytest.LogCaptureFixture
) -> None:
    link("link", dead, r"127.0.0.1\lab")
    with opened(samba, "link", connect_timeout=2.0) as store:
        store.atomic_write(KEY, b"1")
    assert (samba.root / KEY).exists()


@pytest.mark.parametrize(
    ("dead", "error"),
    [(r"127.0.0.9\lab", BackendUnavailable), (r"127.0.0.1\missing", LocationError)],
    ids=["no server", "no share"],
)
def test_a_link_whose_targets_cannot_be_opened_is_named(
    samba: SambaServer, link: Callable[..., None], dead: str, error: type[Exception]
) -> None:
    link("link", dead)
    with pytest.raises(error) as found:
        opened(samba, "link", connect_timeout=2.0)
    assert rf"The DFS link \\127.0.0.1\namespace\link leads to \\{dead}." in str(found.value)


def test_a_wrong_password_is_not_tried_at_the_targets(samba: SambaServer, link: Callable[..., None]) -> None:
    link("link", r"127.0.0.1\lab")
    with pytest.raises(AccessDenied):
        open_store(samba.url("link", user=False, share="namespace"), username=samba.user, password="wrong")
    assert samba.log_text().count("NT_STATUS_WRONG_PASSWORD") <= 1


def test_a_link_below_the_store_does_not_stop_the_list_of_the_rest_and_is_in_the_log(
    samba: SambaServer, namespace: Path, link: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    link("link", r"127.0.0.9\lab")
    (namespace / "plain").mkdir()
    (namespace / "plain" / KEY).write_bytes(b"1")
    with opened(samba) as store, caplog.at_level(logging.WARNING):
        assert store.list_keys() == [f"plain/{KEY}"]
    assert "link is a link of a DFS namespace" in caplog.text


@pytest.mark.parametrize("verb", ["read_snapshot", "lock"])
def test_a_document_behind_a_link_below_the_store_is_refused_with_what_to_do(
    samba: SambaServer, link: Callable[..., None], verb: str
) -> None:
    link("link", r"127.0.0.1\lab")
    with opened(samba) as store, pytest.raises(AccessDenied, match="open a store at the link"):
        getattr(store, verb)(f"link/{KEY}")


@pytest.mark.parametrize("consumed", [1000, 9], ids=["more than there was", "half a name"])
def test_a_referral_that_consumes_what_it_cannot_is_refused(consumed: int) -> None:
    with pytest.raises(ValueError, match="consumes a part of a name"):
        dfs._targets(struct.pack("<HHI", 2 * consumed, 0, 0), r"\server\share\link")
