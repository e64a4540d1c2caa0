"""No password in anything that the command prints, logs or writes: whole sessions against a real file server.

Each session has its password in another place, and runs every command: as text and as JSON, in order and refused, and
with everything logged that anybody logs. A new command is one line of `SESSION`; without one, a test fails.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import sys
import threading
import traceback
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import typer.main
from command_line import COMMAND, ENDPOINT, environment, interrupts_as_before, run_command

from exlab_store import StoreError, open_store
from exlab_store.cli import main
from exlab_store.cli.app import app
from exlab_store.opening import locations as resolving
from exlab_store.opening.configuration import VARIABLE, Configuration, find_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

# {at} is the store, {bad} the same with a wrong password, {local} a directory, {answer} a LIMS's answer.
SESSION = [
    "config show",
    "config check",
    "plugins --at {at}",
    "catalogue publish {answer} {at}/lims.json --endpoint {endpoint}",
    "catalogue show {at}/lims.json --endpoint {endpoint}",
    "equipment register {at}/A/equipment.json --id A --label a --local-root / --nas-root /nas",
    "equipment show {at}/A/equipment.json",
    "init {at}",
    "put {at}/A/runs.json {answer}",
    "get {at}/A/runs.json",
    "ls {at}",
    "stat {at}/A/runs.json",
    "watch {at} --existing --timeout 0",
    "locks {at}",
    "sweep {at}",
    "migrate {at} {local} --create",
    "migrate {local} {at}",
    "rm {at}/A/runs.json",
    "doctor {at} --report report.html --seconds 0.05 --only reach --only lock --only crash",
    "demo --at {at} --seconds 0.1 --writers 1 --readers 1",
    "bench {at} --seconds 0.01",
]

# These take seconds: by default they are run with one place of the password, and not again with JSON or refusals.
LONG = ("demo", "doctor", "bench")

PLACES = ["file", "environment", "keyring", "in clear", "url"]

# All commands, refused ones too, are run with these; what fetches the password is the same for each command.
THOROUGH = ("keyring", "url")
BRIEF = ("config show", "config check", "plugins", "put", "ls")


def _commands() -> dict[str, set[str]]:
    """The options of every command there is."""
    root: Any = typer.main.get_command(app)
    found: dict[str, set[str]] = {}
    for name, command in root.commands.items():
        for inner, leaf in getattr(command, "commands", {"": command}).items():
            found[f"{name} {inner}".strip()] = {option for parameter in leaf.params for option in parameter.opts}
    return found


COMMANDS = _commands()


def _command_of(line: str) -> str | None:
    words = line.split()
    return next((name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS), None)


@dataclass
class Session:
    """Somebody at a terminal, and everything that is shown to them or stays behind.

    Attributes:
        at: The store, as it is typed.
        bad: The same store with a wrong password.
        folder: Home and working directory.
        secrets: The passwords.
        keeper: The one file that may hold them.
        kept: Where the password is, one of `PLACES`.
    """

    at: str
    bad: str
    folder: Path
    secrets: list[str]
    keeper: Path | None
    kept: str
    shown: list[str] = field(default_factory=list[str])

    def type(self, line: str, *extra: str, at: str | None = None) -> int:
        """Runs a command in this process, and keeps what it prints and what anybody logs meanwhile."""
        words = [self._real(word, at or self.at) for word in line.split()] + list(extra)
        streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(3)]
        logged = io.StringIO()
        resolving._forget()  # a command is a process that has opened nothing yet
        with pytest.MonkeyPatch.context() as patch, chdir(self.folder), interrupts_as_before():
            for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
                patch.setattr(sys, name, stream)
            patch.setattr(sys, "argv", ["exlab-store", *words])
            patch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(logged)])
            with pytest.raises(SystemExit) as ended:
                main()
        for stream in streams:
            stream.seek(0)
        said = f"$ {line}\n{streams[1].read()}{streams[2].read()}"
        self.shown += [said, logged.getvalue()]
        return int(ended.value.code or 0)

    def _real(self, word: str, at: str) -> str:
        places = {
            "at": at,
            "bad": self.bad,
            "local": self.folder / "local",
            "answer": self.folder / "answer.json",
            "endpoint": ENDPOINT,
        }
        return word.format_map(places)

    def find_secrets(self, *directories: Path) -> list[str]:
        """Where a password was shown or written, in any form that a program might give it."""
        needles = [form for secret in self.secrets for form in _forms(secret)]
        found = [text[:4000] for text in self.shown if any(needle in text.encode() for needle in needles)]
        for directory in (self.folder, *directories):
            files = [path for path in directory.rglob("*") if path.is_file() and path != self.keeper]
            found += [str(path) for path in files if any(needle in path.read_bytes() for needle in needles)]
        return found


def _forms(secret: str) -> set[bytes]:
    plain, wide = secret.encode(), secret.encode("utf-16-le")
    return {plain, wide, quote(secret, safe="").encode(), base64.b64encode(plain), base64.b64encode(wide)}


@pytest.fixture
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """All that the libraries have to say: those for SMB log each message that they send."""
    names = ["smbprotocol", "smbclient", "spnego", "exlab_store", "fsspec", "keyring", "stamina"]
    with caplog.at_level(logging.DEBUG):
        before = {name: logging.getLogger(name).level for name in names}
        for name in names:
            logging.getLogger(name).setLevel(logging.DEBUG)
        yield
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@pytest.fixture
def session(
    request: pytest.FixtureRequest,
    samba: SambaServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    everything_is_logged: None,
) -> Session:
    """A session whose password is kept where the test's parameter says."""
    kept: str = request.param
    wrong = f"wrong-{samba.password[::-1]}"
    folder = tmp_path / "home"
    (folder / "kept").mkdir(parents=True)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(folder))
    (folder / "answer.json").write_text('{"data": []}')
    config = folder / "kept" / "site.toml"
    keeper: Path | None = None
    password = f"'{samba.password}'"
    if kept == "file":
        keeper = folder / "kept" / "nas"
        keeper.write_text(samba.password)
        keeper.chmod(0o600)
        password = "{ file = 'nas' }"
    elif kept == "environment":
        monkeypatch.setenv("NAS_PASSWORD", samba.password)
        password = "{ env = 'NAS_PASSWORD' }"
    elif kept == "keyring":
        keyring = pytest.importorskip("keyring", reason="install keyring to read passwords from one")
        import site_keyring

        keeper = folder / "kept" / "keyring.json"
        monkeypatch.setenv(site_keyring.VARIABLE, str(keeper))
        monkeypatch.setattr(keyring, "get_keyring", site_keyring.FileKeyring)
        site_keyring.FileKeyring().set_password("exlab", "nas", samba.password)
        password = "{ keyring = 'exlab', user = 'nas' }"
    elif kept == "in clear":
        keeper = config
    monkeypatch.setenv("WRONG_PASSWORD", wrong)
    table = f"url = '{samba.url(user=False)}'\nusername = '{samba.user}'\n"
    soon = "options = { connect_timeout = 1.0 }\n"  # as it is waited out where the server is away
    stores = "" if kept == "url" else f"[stores.nas]\n{table}{soon}password = {password}\nobservers = ['log']\n"
    config.write_text(
        f"{stores}[stores.wrong]\n{table}password = {{ env = 'WRONG_PASSWORD' }}\n"
        f"[stores.here]\nurl = '{folder}/local'\nrequire = {{ lock_scope = 'site' }}\n"
    )
    monkeypatch.setenv(VARIABLE, str(config))
    if kept == "url":
        bad = samba.url(password=wrong)
        return Session(samba.url(password=True), bad, folder, [samba.password, wrong], None, kept)
    return Session("@nas", "@wrong", folder, [samba.password, wrong], keeper, kept)


def test_every_command_has_its_line_in_the_session() -> None:
    assert sorted(COMMANDS) == sorted({command for line in SESSION if (command := _command_of(line))})


@pytest.mark.parametrize("session", PLACES, indirect=True)
def test_a_session_shows_and_leaves_no_password(session: Session, samba: SambaServer) -> None:
    lines = {line: command for line in SESSION if (command := _command_of(line)) and command not in LONG}
    if session.kept not in THOROUGH:
        lines = {line: command for line, command in lines.items() if command in BRIEF}
    for line, command in lines.items():
        # The stores of the configuration that cannot be opened fail its check.
        assert session.type(line) == (1 if command == "config check" else 0), session.shown[-2:]
        if "--json" in COMMANDS[command]:
            session.type(line, "--json")
    assert "to negotiate request" in "".join(session.shown)  # smbprotocol has logged what it did
    if session.kept in THOROUGH:
        _fail(session, samba, [line for line in lines if "{at}" in line])
    assert session.find_secrets(samba.root) == []
    # The grep finds what is there.
    session.shown.append(f"x{samba.password}x")
    assert len(session.find_secrets()) == 1


def _fail(session: Session, samba: SambaServer, lines: list[str]) -> None:
    for line in lines:
        assert session.type(line, at=session.bad) == 1, session.shown[-2:]
        if "--json" in COMMANDS[str(_command_of(line))]:
            assert session.type(line, "--json", at=session.bad) == 1, session.shown[-2:]
    samba.stop()
    for line in lines:
        assert session.type(line) == 6, session.shown[-2:]


@pytest.mark.parametrize("session", ["file"], indirect=True)
def test_commands_that_start_processes_show_and_leave_no_password(session: Session, samba: SambaServer) -> None:
    for line in SESSION:
        if _command_of(line) in LONG:
            with _processes() as seen:
                assert session.type(line) == 0, session.shown[-2:]
            # Arguments and environments are what every account of a machine, or every process of this one, can see.
            assert len(seen) > 1
            assert not [told for told in seen.values() if samba.password.encode() in told]
            assert session.type(line, at=session.bad) == 1, session.shown[-2:]
    assert session.find_secrets(samba.root) == []


@contextmanager
def _processes() -> Iterator[dict[str, bytes]]:
    """Arguments and environment of each process that runs meanwhile, by its id."""
    seen: dict[str, bytes] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                if process.name not in before:
                    with suppress(OSError):  # it has ended, or is another account's
                        told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
                        seen[process.name] = seen.get(process.name, b"") + told

    before = set(os.listdir("/proc"))
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("session", ["url"], indirect=True)
def test_a_terminal_shows_no_password(session: Session, samba: SambaServer) -> None:
    pexpect = pytest.importorskip("pexpect", reason="install pexpect to run the command in a terminal")
    (session.folder / "local").mkdir()
    for words in (
        ["config", "check"],
        ["plugins", "--at", session.at],
        ["equipment", "show", f"{session.bad}/e.json"],
    ):
        child = pexpect.spawn(
            COMMAND[0], [*COMMAND[1:], *words], dimensions=(24, 80), encoding="utf-8", timeout=60, env=environment()
        )
        child.expect(pexpect.EOF)
        child.close()
        session.shown.append(child.before)
    assert "lock_scope" in session.shown[1]
    assert "refuses the account" in " ".join(session.shown[2].split())
    assert session.find_secrets(samba.root) == []


@pytest.mark.parametrize("session", ["keyring", "url"], indirect=True)
def test_no_repr_and_no_traceback_shows_a_password(session: Session, samba: SambaServer) -> None:
    configuration = find_configuration()
    with open_store(session.at) as store:
        store.atomic_write("a", b"1")
        backend = store._hooks._close.__self__  # type: ignore[attr-defined]
        held = store.lock("a")
        objects = [store, store.location, store / "a", store.aio, held, held.owner, configuration, configuration.stores]
        objects += [backend, *vars(backend).values()] if hasattr(backend, "__dict__") else [backend]
        held.release()
    session.shown += [f"{each!r} {each}" for each in objects]
    for place, options in ((session.bad, {}), (session.at, {"timeout": session.secrets[0]}), (session.at, {"x": 1})):
        with pytest.raises(StoreError) as caught:
            open_store(place, **options)  # type: ignore[call-overload]
        session.shown += ["".join(traceback.format_exception(caught.value)), repr(caught.value.envelope())]
    samba.stop()
    with pytest.raises(StoreError) as caught:
        open_store(session.at)
    session.shown += ["".join(traceback.format_exception(caught.value)), repr(caught.value)]
    assert session.find_secrets() == []


@pytest.mark.parametrize("session", ["in clear"], indirect=True)
def test_a_configuration_that_is_wrong_shows_no_password(session: Session, samba: SambaServer) -> None:
    assert session.keeper is not None
    right = session.keeper.read_text()
    mistakes = {
        "password = ": "pasword = ",
        "password = '": "password = ",
        f"{samba.password}'": f"{samba.password}",
        "username = ": "password = ",
        "url = 'smb://": f"url = 'smb://u:{samba.password}@@/",
        "options = {": f"options = {{ password = '{samba.password}', ",
        "observers = ['log']": f"observers = '{samba.password}'",
        "[stores.nas]": f"['{samba.password}",
    }
    for found, put in mistakes.items():
        assert found in right
        session.keeper.write_text(right.replace(found, put, 1))
        for line in ("config show", "config check", "plugins --at {at}"):
            for form in ((), ("--json",)):
                assert session.type(line, *form) != 0
        with suppress(StoreError):
            session.shown.append(repr(Configuration.read(session.keeper)))
    assert session.find_secrets() == []


@pytest.mark.slow
@pytest.mark.parametrize("session", [place for place in PLACES if place != "keyring"], indirect=True)
def test_a_session_of_processes_shows_and_leaves_no_password(session: Session, samba: SambaServer) -> None:
    for line in SESSION:
        command = _command_of(line)
        if command is None:
            continue
        for at in (session.at, session.bad):
            words = [session._real(word, at) for word in line.split()]
            result = run_command(*words, cwd=session.folder, PYTHONDEVMODE="1", PYTHONWARNINGS="default")
            session.shown.append(result.stdout + result.stderr)
    assert session.find_secrets(samba.root) == []
