"""A store in a real Active Directory domain: Samba's domain controller, with its own file server."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import active_directory
import pytest
from conftest import lacking

pytestmark = [pytest.mark.one_interpreter, pytest.mark.slow]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """What became of each way to log on."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("the domain controller runs in namespaces of Linux")
    if packages := active_directory.lacking_packages():
        lacking(f"install Debian's packages {' '.join(packages)}: the domain controller of this test is Samba's")
    if importlib.util.find_spec("gssapi") is None or shutil.which("kinit") is None:
        lacking("install krb5-user, libkrb5-dev and gcc, then pip install 'exlab-store[kerberos]'")
    with tempfile.TemporaryDirectory(prefix="exlab-store-ad-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        ended = subprocess.run(
            ["unshare", "--net", "--mount", "--fork", "--kill-child", sys.executable, active_directory.__file__, name],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if "Operation not permitted" in ended.stderr:
            lacking(f"run the tests as root (sudo) to make namespaces: {ended.stderr}")
        log = directory / "log"
        assert ended.returncode == 0, ended.stderr + (log.read_text(errors="replace")[-3000:] if log.exists() else "")
    return dict(json.loads(line) for line in ended.stdout.splitlines())


@pytest.mark.parametrize(
    "way",
    [
        "ticket",
        "ticket, encrypted",
        "ticket, negotiated",
        "principal and password",
        "upn and password",
        "short domain and password",
        "domain and password",
        "ntlm",
        "address, negotiated",
    ],
)
@pytest.mark.usefixtures("needs_root")
def test_a_store_works_in_a_domain(outcomes: dict[str, str], way: str) -> None:
    assert outcomes[way] == "works"


@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("alias", "AccessDenied: Kerberos knows no file server by the name 'alias.lab.test' (cifs/alias.lab.test)"),
        (
            "wrong password",
            "AccessDenied: the Kerberos server refuses the account alice@LAB.TEST: its password is wrong",
        ),
        ("wrong user", "AccessDenied: the Kerberos server refuses the account nobody@LAB.TEST: it does not exist"),
    ],
)
@pytest.mark.usefixtures("needs_root")
def test_the_domain_s_refusal_is_said(outcomes: dict[str, str], way: str, error: str) -> None:
    assert outcomes[way] == error


@pytest.mark.usefixtures("needs_root")
def test_a_wrong_password_counts_once(outcomes: dict[str, str]) -> None:
    assert outcomes["wrong passwords that the domain has counted"] == "1"
