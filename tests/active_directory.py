"""A real Active Directory domain controller for a test: Samba's, in a network and a mount namespace of its own.

Its ports are fixed and it uses /run/samba, so that this program is started as
``unshare --net --mount --fork --kill-child python active_directory.py DIRECTORY``. It makes the domain, logs on in each
way that a site has, and prints one line of JSON for each: its name, and "works" or the error.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

REALM, DOMAIN, HOST = "LAB.TEST", "LAB", "dc1.lab.test"
PASSWORD = "Alice.Pass1"
PATIENCE = 120.0  # seconds: LDAP follows SMB by some, on a busy machine by many
PROGRAMS = {"samba": "samba-ad-dc", "samba-tool": "samba-ad-provision winbind ldb-tools", "eatmydata": "eatmydata"}

_KRB5_CONF = f"""\
[libdefaults]
    default_realm = {REALM}
    dns_lookup_realm = false
    dns_lookup_kdc = false
    dns_canonicalize_hostname = false
    rdns = false
[realms]
    {REALM} = {{
        kdc = 127.0.0.1
    }}
"""


def lacking_packages() -> list[str]:
    """The Debian packages of what is not installed."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    return [package for program, package in PROGRAMS.items() if shutil.which(program, path=places) is None]


def main(directory: Path) -> None:
    _isolate(directory)
    _provision(directory)
    conf = _configure(directory)
    os.environ.update(KRB5_CONFIG=str(directory / "krb5.conf"), KRB5CCNAME=f"FILE:{directory / 'ticket'}")
    (directory / "krb5.conf").write_text(_KRB5_CONF)
    with (directory / "log").open("wb") as log:
        command = ["samba", "-F", "--no-process-group", f"--configfile={conf}", "--debug-stdout"]
        controller = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _until_it_works("samba-tool", "user", "create", "alice", PASSWORD, f"--configfile={conf}")
        lockout = "--account-lockout-threshold=3"  # without it, the domain does not count
        _until_it_works("samba-tool", "domain", "passwordsettings", "set", lockout, f"--configfile={conf}")
        _until_it_works("kinit", f"alice@{REALM}", text=PASSWORD)
        _log_on(directory)
    finally:
        controller.terminate()
        controller.wait(PATIENCE)


def _isolate(directory: Path) -> None:
    hosts = directory / "hosts"
    hosts.write_text(f"127.0.0.1 {HOST} dc1 lab.test localhost alias.lab.test\n")
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["mount", "--bind", str(hosts), "/etc/hosts"],
        ["mount", "-t", "tmpfs", "run", "/run"],  # smbd looks for winbindd in /run/samba and nowhere else
    ):
        subprocess.run(command, check=True)
    Path("/run/samba").mkdir()


def _provision(directory: Path) -> None:
    subprocess.run(
        [
            "eatmydata", "samba-tool", "domain", "provision", f"--realm={REALM}", f"--domain={DOMAIN}",
            "--server-role=dc", "--dns-backend=SAMBA_INTERNAL", "--adminpass=Passw0rd.Lab1",
            f"--targetdir={directory}", "--host-name=dc1", "--host-ip=127.0.0.1",
            "--option=interfaces=lo", "--option=bind interfaces only=yes",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _configure(directory: Path) -> Path:
    path = directory / "etc" / "smb.conf"
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(path.read_text())
    settings = {
        "ncalrpc dir": str(directory / "ncalrpc"),
        "ntp signd socket directory": str(directory / "ntp"),
        "pid directory": str(directory),
        "dns update command": "/bin/true",
        "spn update command": "/bin/true",
        "ldap server require strong auth": "no",
    }
    own = dict(parser["global"]) | settings
    own.pop("dns forwarder", None)
    share = directory / "lab"
    share.mkdir()
    share.chmod(0o1777)
    sections = {
        "global": own,
        "sysvol": dict(parser["sysvol"]),
        "netlogon": dict(parser["netlogon"]),
        "lab": {"path": str(share), "read only": "no", "strict sync": "yes"},
    }
    path.write_text(
        "\n".join(
            f"[{name}]\n" + "".join(f"    {key} = {value}\n" for key, value in section.items())
            for name, section in sections.items()
        )
    )
    return path


def _until_it_works(*command: str, text: str = "") -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        ended = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if ended.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{command[0]}: {ended.stdout}{ended.stderr}")
        time.sleep(0.5)


def _log_on(directory: Path) -> None:
    from exlab_store import StoreError, open_store

    account = {"username": "alice", "password": PASSWORD}
    ways: Mapping[str, tuple[str, dict[str, Any]]] = {
        "ticket": (HOST, {"auth_protocol": "kerberos"}),
        "ticket, encrypted": (HOST, {"auth_protocol": "kerberos", "encrypt": True}),
        "ticket, negotiated": (HOST, {}),
        "principal and password": (HOST, {**account, "username": f"alice@{REALM}", "auth_protocol": "kerberos"}),
        "upn and password": (HOST, {**account, "username": "alice@lab.test", "auth_protocol": "kerberos"}),
        "short domain and password": (HOST, {**account, "username": f"{DOMAIN}\\alice", "auth_protocol": "kerberos"}),
        "domain and password": (HOST, {**account, "domain": REALM, "auth_protocol": "kerberos"}),
        "ntlm": (HOST, {**account, "domain": DOMAIN, "auth_protocol": "ntlm"}),
        "address, negotiated": ("127.0.0.1", {**account, "domain": DOMAIN}),
        "alias": ("alias.lab.test", {"auth_protocol": "kerberos"}),
        "wrong password": (HOST, {**account, "password": "Wrong.Pass1"}),
        "wrong user": (HOST, {**account, "username": "nobody", "auth_protocol": "kerberos"}),
    }
    for name, (host, options) in ways.items():
        try:
            with open_store(f"smb://{host}/lab", **options) as store:
                store.atomic_write("a.json", b"1")
                with store.lock("a.json") as held:
                    store.atomic_write("a.json", b"2", lock=held)
                store.update("a.json", lambda found: (found or b"") + b"3")
                assert store.read_snapshot("a.json").data == b"23"
                store.delete("a.json")
            outcome = "works"
        except StoreError as error:
            outcome = f"{type(error).__name__}: {error.message}"
        print(json.dumps([name, outcome]), flush=True)
    count = subprocess.run(
        ["ldbsearch", "-H", str(directory / "private" / "sam.ldb"), "sAMAccountName=alice", "badPwdCount"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    counted = [line.partition(": ")[2] for line in count.splitlines() if line.startswith("badPwdCount: ")]
    print(json.dumps(["wrong passwords that the domain has counted", *counted]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
