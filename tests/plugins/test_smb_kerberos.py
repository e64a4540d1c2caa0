"""Logging on to a file server with Kerberos: by ticket, keytab and password, and what is said when it fails."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from kerberos_realm import DOMAIN, REALM, Site, running_site

from exlab_store import AccessDenied, BackendUnavailable, LockLost, NotSupported, Store, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store import StoreLock

pytestmark = pytest.mark.one_interpreter


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    """One realm for all of this module."""
    with running_site() as found:
        yield found


@pytest.fixture
def site(running: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The realm, where nobody has a ticket yet."""
    running.realm.log_out()
    monkeypatch.delenv("KRB5_CLIENT_KTNAME", raising=False)
    yield running
    running.realm.configure()


@pytest.fixture
def ticket(site: Site) -> None:
    """A ticket in the cache, as kinit leaves it there."""
    site.realm.log_in()


PROTOCOLS = pytest.mark.parametrize("auth_protocol", ["kerberos", "negotiate"])


def works(site: Site, **options: Any) -> None:
    """All that a site does with a store."""
    with open_store(site.url(), **options) as store:
        store.atomic_write("a.json", b"1")
        with store.lock("a.json") as held:
            store.atomic_write("a.json", b"2", lock=held)
        store.update("a.json", lambda found: (found or b"") + b"3")
        assert store.read_snapshot("a.json").data == b"23"
        assert store.list_keys() == ["a.json"]
        store.delete("a.json")


def refusal(kind: type[StoreError], url: str, **options: Any) -> StoreError:
    """Why a store cannot be opened; the error is of this very type, and has a hint."""
    with pytest.raises(kind) as caught:
        open_store(url, **options).close()
    assert type(caught.value) is kind
    assert caught.value.hint
    assert options.get("password", "no password") not in str(caught.value)
    assert "anonymous" not in str(caught.value)
    return caught.value


# Ways to log on


@PROTOCOLS
@pytest.mark.parametrize("encrypt", [None, True])
@pytest.mark.usefixtures("ticket")
def test_a_ticket_is_enough(site: Site, auth_protocol: str, encrypt: bool | None) -> None:
    works(site, auth_protocol=auth_protocol, encrypt=encrypt)


@PROTOCOLS
def test_a_keytab_is_enough(site: Site, auth_protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", f"FILE:{site.realm.keytab()}")
    works(site, auth_protocol=auth_protocol)


@PROTOCOLS
def test_user_and_password_need_no_ticket(site: Site, auth_protocol: str) -> None:
    works(site, username=site.realm.principal, password=site.realm.password, auth_protocol=auth_protocol)
    assert not site.realm.ticket.exists()


@pytest.mark.parametrize(
    "account",
    [
        {"username": "alice"},
        {"username": f"alice@{REALM}"},
        {"username": f"alice@{REALM.lower()}"},
        {"username": f"{REALM}\\alice"},
        {"username": f"{DOMAIN}\\alice"},
        {"username": f"{DOMAIN};alice"},
        {"username": "alice", "domain": REALM},
        {"username": "alice", "domain": DOMAIN.lower()},
    ],
    ids=repr,
)
def test_every_way_to_write_an_account_of_the_domain_is_its_principal(site: Site, account: dict[str, str]) -> None:
    open_store(site.url(), **account, password=site.realm.password, auth_protocol="kerberos").close()


@pytest.mark.usefixtures("ticket")
def test_a_user_name_chooses_the_ticket(site: Site) -> None:
    open_store(site.url(), username=f"{DOMAIN}\\alice").close()
    error = refusal(AccessDenied, site.url(), username=f"{DOMAIN}\\bob")
    assert f"no Kerberos ticket of bob@{REALM}" in error.message


def test_an_account_of_the_server_alone_is_logged_on_with_ntlm(site: Site) -> None:
    works(site, **site.server.options)
    works(site, **site.server.options, domain=site.server.netbios_name, auth_protocol="ntlm")


# What is refused


@PROTOCOLS
def test_a_wrong_password_is_shown_to_the_domain_once(site: Site, auth_protocol: str) -> None:
    # Active Directory locks an account after a few, whichever protocol they came by.
    before = site.realm.wrong_passwords()
    error = refusal(AccessDenied, site.url(), username=site.realm.user, password="wrong-1", auth_protocol=auth_protocol)
    assert f"alice@{REALM}: its password is wrong" in error.message
    assert site.realm.wrong_passwords() == before + 1
    assert "wrong-1" not in site.server.log_text()


@PROTOCOLS
def test_a_wrong_password_is_not_tried_with_ntlm(site: Site, auth_protocol: str) -> None:
    from wire_proxy import WireProxy

    with WireProxy("127.0.0.1", site.server.port) as wire, wire.counting() as count:
        account = {"username": site.realm.user, "password": "wrong-2"}
        refusal(AccessDenied, site.url(port=wire.port), **account, auth_protocol=auth_protocol)
        assert wire.accepted == 1
    assert not [names for _, names in count.log if "SESSION_SETUP" in names]


@pytest.mark.parametrize("verb", ["read", "write", "lock", "update", "delete", "list"])
@PROTOCOLS
def test_a_password_that_was_changed_meanwhile_is_shown_once_by_each_operation(
    site: Site, verb: str, auth_protocol: str
) -> None:
    verbs: dict[str, Callable[[Store], object]] = {
        "read": lambda store: store.read_snapshot("a.json"),
        "write": lambda store: store.atomic_write("a.json", b"1"),
        "lock": lambda store: store.lock("a.json", timeout=1),
        "update": lambda store: store.update("a.json", lambda _: b"1", timeout=1),
        "delete": lambda store: store.delete("a.json"),
        "list": lambda store: store.list_keys(),
    }
    realm = site.realm
    account = {"username": realm.user, "password": realm.password}
    try:
        with open_store(site.url(), **account, auth_protocol=auth_protocol) as store:
            realm.administer(f"cpw -pw changed {realm.user}")
            for pid in site.server.client_pids():
                site.server.kill_client(pid)
            before = realm.wrong_passwords()
            with pytest.raises(AccessDenied, match="its password is wrong"):
                verbs[verb](store)
            assert realm.wrong_passwords() == before + 1
    finally:
        realm.administer(f"cpw -pw {realm.password} {realm.user}")


def test_a_keytab_whose_key_was_changed_is_refused_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    realm = site.realm
    realm.add_user("machine", "first")
    keytab = realm.directory / "machine.keytab"
    realm.administer(f"ktadd -norandkey -k {keytab} machine")
    realm.administer("cpw -pw second machine")
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", f"FILE:{keytab}")
    before = realm.wrong_passwords()
    error = refusal(AccessDenied, site.url(), username="machine")
    assert "the keytab of machine@SITE.TEST" in error.message
    assert realm.wrong_passwords() == before + 1


def test_an_unknown_principal_is_refused(site: Site) -> None:
    error = refusal(AccessDenied, site.url(), username="nobody", password="any", auth_protocol="kerberos")
    assert f"nobody@{REALM}: it does not exist" in error.message


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("modprinc -allow_tix carol", "it is disabled or locked out"),
        ("modprinc -pwexpire yesterday carol", "its password has expired"),
        ("modprinc -expire yesterday carol", "it has expired"),
    ],
)
def test_what_is_wrong_with_an_account_is_said(site: Site, command: str, said: str) -> None:
    site.realm.add_user("carol", "right")
    try:
        site.realm.administer(command)
        error = refusal(AccessDenied, site.url(), username="carol", password="right")
        assert f"carol@{REALM}: {said}" in error.message
    finally:
        site.realm.administer("delprinc -force carol")


@PROTOCOLS
def test_without_a_ticket_it_is_said_where_to_get_one(site: Site, auth_protocol: str) -> None:
    error = refusal(AccessDenied, site.url(), auth_protocol=auth_protocol)
    assert error.message == "there is no Kerberos ticket"
    assert "kinit" in error.hint


@PROTOCOLS
@pytest.mark.parametrize("named", [True, False])
def test_an_expired_ticket_is_called_so(site: Site, auth_protocol: str, named: bool) -> None:
    site.realm.log_in("1s")
    time.sleep(2)  # there is nothing to wait for but the time
    account = {"username": site.realm.user} if named else {}
    error = refusal(AccessDenied, site.url(), **account, auth_protocol=auth_protocol)
    assert error.message == f"the Kerberos ticket of alice@{REALM} has expired"
    assert "kinit" in error.hint


@PROTOCOLS
@pytest.mark.usefixtures("ticket")
def test_a_name_that_the_domain_does_not_know_is_called_so(site: Site, auth_protocol: str) -> None:
    error = refusal(AccessDenied, site.url(host="127.0.0.1"), auth_protocol=auth_protocol)
    assert "no file server by the name '127.0.0.1'" in error.message
    assert "alias" in error.hint


@pytest.mark.usefixtures("ticket")
def test_a_user_whom_the_server_does_not_know_is_called_so(site: Site) -> None:
    site.realm.add_user("dave", "right")
    error = refusal(AccessDenied, site.url(), username="dave", password="right")
    assert f"the server knows no account for the Kerberos ticket of dave@{REALM}" in error.message


@pytest.mark.parametrize("clock", ["-1h", "+1h"])
@pytest.mark.usefixtures("ticket")
def test_a_clock_that_is_off_is_called_so(site: Site, clock: str) -> None:
    site.realm.stop()
    site.realm.start(clock)
    try:
        for options in ({}, {"username": site.realm.user, "password": site.realm.password}):
            error = refusal(AccessDenied, site.url(), **options, auth_protocol="kerberos")
            assert "clock" in error.message
            assert "5 minutes" in error.hint
    finally:
        site.realm.stop()
        site.realm.start()


def test_a_server_without_kerberos_says_so(samba: Any, site: Site) -> None:
    url = f"smb://localhost:{samba.port}/lab"
    error = refusal(NotSupported, url, username="alice", password="any", auth_protocol="kerberos")
    assert "no Kerberos tickets" in error.message


def test_no_kerberos_server_is_asked_where_the_file_server_takes_no_tickets(samba: Any, site: Site) -> None:
    before = site.realm.log_text()
    open_store(f"smb://localhost:{samba.port}/lab", username=samba.user, password=samba.password).close()
    assert site.realm.log_text() == before


# A Kerberos server that does not answer


@pytest.fixture
def stopped(site: Site) -> Iterator[None]:
    """The KDC's port refuses connections."""
    site.realm.stop()
    yield
    site.realm.start()


@contextmanager
def deaf_server() -> Iterator[int]:
    """A port that swallows every connection: the queue of those to be accepted is full."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(deaf.getsockname())
            yield deaf.getsockname()[1]
        finally:
            for each in waiting:
                each.close()


@pytest.fixture
def silent(site: Site) -> Iterator[None]:
    """The KDC's machine is there, and nothing comes back."""
    with deaf_server() as port:
        site.realm.configure(port=port)
        yield


@pytest.mark.usefixtures("stopped")
def test_a_kerberos_server_that_is_stopped_is_unavailable(site: Site) -> None:
    account = {"username": site.realm.user, "password": site.realm.password}
    error = refusal(BackendUnavailable, site.url(), **account, auth_protocol="kerberos")
    assert error.message == f"no Kerberos server of the realm {REALM} answers"


def test_a_realm_without_a_server_is_unavailable(site: Site) -> None:
    account = {"username": "alice@ELSE.TEST", "password": "wrong-3"}
    error = refusal(BackendUnavailable, site.url(), **account, auth_protocol="kerberos")
    assert error.message == "no Kerberos server of the realm ELSE.TEST is known"


@pytest.mark.usefixtures("ticket", "stopped")
def test_a_ticket_for_the_server_that_is_there_already_needs_no_kerberos_server(site: Site) -> None:
    site.realm.start()
    open_store(site.url()).close()
    site.realm.stop()
    works(site)


@pytest.mark.usefixtures("silent")
def test_a_silent_kerberos_server_is_waited_for_no_longer_than_connecting_may_take(site: Site) -> None:
    # The libraries themselves would wait for half a minute.
    account = {"username": site.realm.user, "password": site.realm.password}
    began = time.monotonic()
    error = refusal(BackendUnavailable, site.url(), **account, auth_protocol="kerberos", connect_timeout=0.5)
    assert time.monotonic() - began < 15
    assert "no Kerberos server has answered within connect_timeout (0.5 s)" in error.message


@pytest.mark.usefixtures("silent")
def test_a_silent_kerberos_server_leaves_time_for_ntlm(site: Site) -> None:
    open_store(site.url(), **site.server.options, connect_timeout=4).close()


def test_a_process_ends_while_a_kerberos_server_is_silent(site: Site) -> None:
    program = (
        "import sys; from exlab_store import open_store, BackendUnavailable\n"
        "try: open_store(sys.argv[1], username='alice', password='x', auth_protocol='kerberos', connect_timeout=0.2)\n"
        "except BackendUnavailable: print('unavailable')\n"
    )
    with deaf_server() as port:
        site.realm.configure(port=port)
        ended = subprocess.run(
            [sys.executable, "-c", program, site.url()], capture_output=True, text=True, timeout=15, check=False
        )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("unavailable\n", "", 0)


def test_what_was_tried_is_said_where_ntlm_is_refused_too(site: Site) -> None:
    error = refusal(AccessDenied, site.url(), username="nobody", password="any")
    assert "'nobody' or its password" in error.message
    assert f"nobody@{REALM}: it does not exist" in error.hint


# Sessions that end with their ticket


@contextmanager
def expired(site: Site, **options: Any) -> Iterator[tuple[Store, StoreLock]]:
    """A store whose session has ended with its ticket, with a lock; there is a new ticket."""
    site.realm.log_in("3s")
    until = time.monotonic() + 4
    with open_store(site.url(), **options) as store:
        store.atomic_write("a.json", b"1")
        held = store.lock("held.json")
        site.realm.log_in()
        time.sleep(max(0.0, until - time.monotonic()))  # there is nothing to wait for but the time
        yield store, held
        with suppress(LockLost):
            held.release()


def assert_nothing_is_shown(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Where no logging is set up, Python prints warnings and errors on standard error."""
    assert capfd.readouterr().err == ""
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("encrypt", [None, True])
def test_an_operation_on_a_session_that_has_expired_is_done_on_a_new_one(
    site: Site, encrypt: bool | None, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with expired(site, encrypt=encrypt) as (store, held):
        assert store.read_snapshot("a.json").data == b"1"
        store.atomic_write("a.json", b"2")
        assert store.read_snapshot("a.json").data == b"2"
        with pytest.raises(LockLost):
            held.ensure_held()
    assert_nothing_is_shown(capfd, caplog)


def test_a_write_under_a_lock_whose_session_has_expired_is_refused(
    site: Site, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with expired(site) as (store, held):
        with pytest.raises(LockLost):
            store.atomic_write("held.json", b"1", lock=held)
        with suppress(LockLost):
            held.release()
        assert store.list_keys() == ["a.json"]
        with store.lock("held.json", timeout=10) as again:
            store.atomic_write("held.json", b"2", lock=again)
        store.delete("a.json")
        store.delete("held.json")
    assert_nothing_is_shown(capfd, caplog)


def test_a_session_that_has_expired_with_the_last_ticket_says_so(site: Site) -> None:
    with expired(site) as (store, _):
        site.realm.log_in("1s")
        time.sleep(2)
        with pytest.raises(AccessDenied, match="has expired"):
            store.read_snapshot("a.json")
        site.realm.log_in()
        assert store.read_snapshot("a.json").data == b"1"  # the same store, when there is one again
        store.delete("a.json")
