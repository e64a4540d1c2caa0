"""The section "Active Directory and Kerberos" says what a real domain does."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import nas
import pytest
from kerberos_realm import Site, running_site

from exlab_store import AccessDenied, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.one_interpreter

SECTION = nas.PAGE.read_text(encoding="utf-8").partition("## Active Directory and Kerberos\n")[2].partition("\n## ")[0]
SAID = re.findall(r"^\| ([^|]+) \| ", SECTION.partition("| The error says | What to do |\n")[2], re.MULTILINE)


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    with running_site() as found:
        (found.server.root / "exlab").mkdir()
        yield found


@pytest.fixture
def site(running: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("KRB5_CLIENT_KTNAME", raising=False)
    running.realm.log_out()
    yield running
    running.realm.stop()
    running.realm.start()


def test_the_program_of_the_section_runs_with_a_ticket(site: Site) -> None:
    (program,) = re.findall(r"\n```\{code-block\} python\n:caption: [^\n]*\n(.*?)\n```\n", SECTION, re.DOTALL)
    site.realm.log_in()
    exec(program.replace("smb://nas01/lab", site.url()), {})
    assert (site.server.root / "exlab" / "a.json").read_bytes() == b"{}"


def test_the_keytab_of_the_section_is_enough(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "KRB5_CLIENT_KTNAME=FILE:" in SECTION
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", f"FILE:{site.realm.keytab()}")
    open_store(site.url()).close()


def _no_ticket(site: Site) -> dict[str, Any]:
    return {}


def _expired(site: Site) -> dict[str, Any]:
    site.realm.log_in("1s")
    time.sleep(2)  # there is nothing to wait for but the time
    return {}


def _wrong_password(site: Site) -> dict[str, Any]:
    return {"username": site.realm.user, "password": "wrong"}


def _alias(site: Site) -> dict[str, Any]:
    site.realm.log_in()
    return {"host": "127.0.0.1"}


def _clock(site: Site) -> dict[str, Any]:
    site.realm.log_in()
    site.realm.stop()
    site.realm.start("+1h")
    return {}


def _no_server(site: Site) -> dict[str, Any]:
    site.realm.log_in()
    site.realm.stop()
    return {}


def _unmapped(site: Site) -> dict[str, Any]:
    site.realm.add_user("erin", "right")
    return {"username": "erin", "password": "right"}


CASES: list[Callable[[Site], dict[str, Any]]] = [
    _no_ticket, _expired, _wrong_password, _alias, _clock, _no_server, _unmapped,
]  # fmt: skip


def _error(url: str, **options: Any) -> StoreError:
    with pytest.raises(StoreError) as caught:
        open_store(url, **options, auth_protocol="kerberos").close()
    return caught.value


@pytest.mark.parametrize(("said", "prepare"), list(zip(SAID, CASES, strict=False)), ids=SAID[: len(CASES)])
def test_each_sentence_of_the_table_is_what_the_error_says(
    site: Site, said: str, prepare: Callable[[Site], dict[str, Any]]
) -> None:
    options = prepare(site)
    error = _error(site.url(host=options.pop("host", "localhost")), **options)
    assert error.message.startswith(said)
    assert isinstance(error, AccessDenied) is ("no Kerberos server" not in said)


def test_the_last_sentence_of_the_table_is_that_of_a_server_outside_the_domain(samba: Any, site: Site) -> None:
    assert len(SAID) == len(CASES) + 1
    error = _error(f"smb://localhost:{samba.port}/lab", username=samba.user, password=samba.password)
    assert error.message.startswith(SAID[-1])
    assert type(error).__name__ == "NotSupported"
