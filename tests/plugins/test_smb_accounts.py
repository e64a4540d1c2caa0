"""How an account and the other options are given, checked, and kept from being shown."""

from __future__ import annotations

from typing import Any

import pytest
from exlab_store_smb.session.options import SmbOptions
from rich.pretty import pretty_repr


@pytest.mark.parametrize(
    ("username", "domain", "account"),
    [
        (None, None, None),
        (None, "LAB", None),
        ("svc", None, "svc"),
        ("svc", "LAB", r"LAB\svc"),
        (r"LAB\svc", None, r"LAB\svc"),
        (r"LAB\svc", "OTHER", r"LAB\svc"),
        ("svc@lab.example", "OTHER", "svc@lab.example"),
        ("LAB;svc", None, r"LAB\svc"),
        ("LAB;svc", "OTHER", r"LAB\svc"),
        (";svc", None, "svc"),
    ],
)
def test_an_account_is_written_as_the_server_wants_it(
    username: str | None, domain: str | None, account: str | None
) -> None:
    assert SmbOptions(host="nas", username=username, domain=domain).account == account


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"port": 65536},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"connect_timeout": 0},
    ],
    ids=str,
)
def test_an_option_that_is_out_of_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SmbOptions(host="nas", **wrong)


def test_options_do_not_show_the_password() -> None:
    assert "hunter2" not in repr(SmbOptions(host="nas", username="svc", password="hunter2"))


def test_what_rich_prints_of_the_options_has_no_password() -> None:
    assert "secret" not in pretty_repr(SmbOptions(host="nas01", username="u", password="secret"))
