"""The command on Windows, as far as wine can tell: its output in each encoding, its exit codes, and its processes."""

from __future__ import annotations

import doctest
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windows_python import WindowsPython

pytestmark = pytest.mark.one_interpreter

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "how-to" / "use-on-windows.md"
ANSWER = HERE.parent / "documents" / "lims_projects.json"
ENDPOINT = "https://lims.lab.example/api/v1"
MODULES = """
import importlib, pkgutil
refused = []
for package in map(importlib.import_module, ("exlab_store", "exlab_store_posix", "exlab_store_memory")):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__") and ".frozen.hooks" not in module.name:
            try:
                importlib.import_module(module.name)
            except ImportError:
                refused.append(module.name)
print(*refused)
"""
ENDED_BY_CTRL_BREAK = """
import _thread, os, signal, sys, threading, time
from exlab_store.cli import main
def end(folder):
    while not os.listdir(folder):
        time.sleep(0.1)
    time.sleep(1)
    _thread.interrupt_main(signal.SIGBREAK)
threading.Thread(target=end, args=(sys.argv[3],), daemon=True).start()
main()
"""


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: bytes
    err: bytes

    @property
    def said(self) -> str:
        return self.out.decode().replace("\r\n", "\n")

    @property
    def complained(self) -> str:
        return self.err.decode().replace("\r\n", "\n")


class Shell:
    """Runs the command in a folder of Windows."""

    def __init__(self, windows: WindowsPython, folder: Path) -> None:
        self.windows = windows
        self.folder = folder
        self.path = f"C:\\{folder.name}"

    def run(self, *calls: dict[str, Any], **variables: str) -> list[Ended]:
        """Runs commands one after the other, with one start of wine."""
        script = self.windows.path(HERE / "commands.py")
        done = self.windows.run(script, text=json.dumps(calls), deadline=400, **variables)
        assert done.returncode == 0, done.stderr
        ended = json.loads(done.stdout)
        return [Ended(each["code"], bytes.fromhex(each["out"]), bytes.fromhex(each["err"])) for each in ended]

    def __call__(self, *words: str, **more: Any) -> Ended:
        (ended,) = self.run({"words": words, **more})
        return ended


@pytest.fixture
def shell(windows: WindowsPython, request: pytest.FixtureRequest) -> Iterator[Shell]:
    folder = windows.drive / f"lab{abs(hash(request.node.name)) % 10**8}"
    folder.mkdir()
    yield Shell(windows, folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_every_module_imports_but_for_those_of_other_systems(windows: WindowsPython) -> None:
    done = windows.run("-c", MODULES)
    assert (done.stdout.split(), done.stderr) == (["exlab_store.testing.crash", "exlab_store_posix.access"], "")


@pytest.mark.parametrize("command", ["demo", "doctor"])
def test_the_page_about_windows_shows_what_the_command_prints(shell: Shell, command: str) -> None:
    shown = re.search(
        rf"^C:\\> exlab-store ({command}.*)\n((?:.*\n)*?)```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert shown is not None
    words = shown[1].replace(r"C:\lab", shell.path).split()
    ended = shell(*words, encoding="utf-8", environment={"COLUMNS": "80"})
    lines = ended.said.replace(shell.folder.name, "lab").splitlines()
    got = "".join(f"{line.rstrip()}\n" for line in lines)
    assert doctest.OutputChecker().check_output(shown[2], got, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), (
        got + ended.complained
    )


def test_a_catalogue_is_shown_in_every_encoding_of_a_console(shell: Shell) -> None:
    catalogue = f"{shell.path}\\c.json"
    answer = shell.windows.path(ANSWER)
    show = ["catalogue", "show", catalogue, "--endpoint", ENDPOINT]
    published, *shown = shell.run(
        {"words": ["catalogue", "publish", answer, catalogue, "--endpoint", ENDPOINT]},
        *({"words": show, "encoding": encoding} for encoding in ("utf-8", "cp437", "cp1252")),
    )
    assert published.code == 0, published.complained
    assert [(each.code, each.err) for each in shown] == [(0, b"")] * 3
    texts = [each.out.decode(encoding) for each, encoding in zip(shown, ("utf-8", "cp437", "cp1252"), strict=True)]
    assert all(text.count("PROJ-") == 500 and "L. Müller" in text for text in texts)
    assert "田中" in texts[0]
    assert "─" in texts[0]
    # What an encoding lacks is a question mark, and lines are drawn with what all of them have.
    assert all("?" in text and "─" not in text and "-+-" in text for text in texts[1:])


def test_the_exit_codes_are_those_of_every_system(shell: Shell) -> None:
    document = f"{shell.path}\\a.json"
    ended = shell.run(
        {"words": ["get", document]},
        {"words": ["put", document, "-"], "input": "one\r\ntwo"},
        {"words": ["get", document]},
        {"words": ["put", document, "-", "--expect", "absent"], "input": "three"},
        {"words": ["get", "lab\\a.json\0"[:-1] + ":"]},
        {"words": ["get", "ftp://nas01/lab/a.json"]},
        {"words": ["rm", document]},
    )
    assert [each.code for each in ended] == [3, 0, 0, 4, 2, 2, 0]
    assert ended[2].out == b"one\r\ntwo"
    assert "Traceback" not in "".join(each.complained for each in ended)


@pytest.mark.slow
def test_a_pattern_is_not_taken_for_names_in_the_working_directory(shell: Shell) -> None:
    (shell.folder / "a.json").write_bytes(b"1")
    ended = shell("ls", f"{shell.path}\\*.json", cwd=shell.path)
    assert "a.json" not in ended.said


@pytest.mark.slow
def test_a_configuration_is_found_where_windows_keeps_an_account_s(shell: Shell) -> None:
    refused = shell("config", "show")
    folder = re.search(
        r"this account's configuration \((C:\\users\\\w+\\AppData\\Roaming)\\exlab-store\\exlab-", refused.complained
    )
    assert folder is not None, refused.complained
    account = shell.windows.drive.joinpath(*folder[1].split("\\")[1:], "exlab-store")
    account.mkdir(parents=True)
    try:
        (account / "exlab-store.toml").write_text(f"[stores.lab]\nurl = '{shell.path}'\n")
        put, listed = shell.run({"words": ["put", "@lab/a.json", "-"], "input": "1"}, {"words": ["ls", shell.path]})
        assert (put.code, listed.said) == (0, "a.json\n")
    finally:
        shutil.rmtree(account)


@pytest.mark.slow
def test_a_password_comes_from_the_keyring_of_windows(windows: WindowsPython) -> None:
    program = (
        "import keyring; from exlab_store.opening.secrets import SecretSource\n"
        "keyring.set_password('exlab-wizard', 'nas', 'right')\n"
        "print(type(keyring.get_keyring()).__module__)\n"
        "print(SecretSource(keyring='exlab-wizard', user='nas').fetch(None).reveal())"
    )
    done = windows.run("-c", program)
    assert (done.stdout.split(), done.stderr) == (["keyring.backends.Windows", "right"], "")


@pytest.mark.slow
def test_nobody_who_reads_ends_the_command_with_its_own_exit_code(windows: WindowsPython, shell: Shell) -> None:
    (shell.folder / "a.json").write_bytes(b"x" * 1_000_000)
    program = (
        "import subprocess, sys\n"
        "command = [sys.executable, '-m', 'exlab_store.cli', 'get', sys.argv[1]]\n"
        "process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "process.stdout.read(10); process.stdout.close()\n"
        "print(process.stderr.read().decode(), process.wait())"
    )
    assert windows.run("-c", program, f"{shell.path}\\a.json").stdout.split() == ["141"]


@pytest.mark.slow  # the page about Windows shows one that does so
def test_the_demo_loses_and_tears_nothing(shell: Shell) -> None:
    ended = shell("demo", "--at", shell.path, "--seconds", "2", "--json")
    assert ended.code == 0, ended.out + ended.err
    answer = json.loads(ended.out)
    assert (answer["sound"], answer["torn_reads"], answer["lost_updates"], answer["writers"]) == (True, 0, 0, 4)
    assert answer["increments"] > 0
    assert list(shell.folder.iterdir()) == []


@pytest.mark.slow
def test_the_bench_measures_without_the_bare_calls_which_windows_lacks(shell: Shell) -> None:
    ended = shell("bench", shell.path, "--seconds", "0.1", "--json")
    assert ended.code == 0, ended.out + ended.err
    answer = json.loads(ended.out)
    assert {each["bare"] for each in answer["operations"]} == {None}
    assert answer["system"].startswith("Windows")
    assert list(shell.folder.iterdir()) == []


def test_ctrl_break_ends_the_demo_in_order(windows: WindowsPython, shell: Shell) -> None:
    """The signal alone: wine does not tell the processes of a console of the key."""
    done = windows.run("-c", ENDED_BY_CTRL_BREAK, "demo", "--at", shell.path, "--seconds", "600")
    assert (done.returncode, done.stdout) == (128 + 21, "")
    assert list(shell.folder.iterdir()) == []


def test_ctrl_c_in_a_console_ends_the_demo_in_order(windows: WindowsPython, shell: Shell) -> None:
    pexpect = pytest.importorskip("pexpect", reason="install pexpect to run the command in a terminal")
    command, *arguments = windows.command("-m", "exlab_store.cli", "demo", "--at", shell.path, "--seconds", "600")
    child = pexpect.spawn(
        command, arguments, dimensions=(24, 100), encoding="utf-8", timeout=240, env=windows.environment()
    )
    child.expect_exact("at work")
    child.send("\x03")
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, child.signalstatus) == (130, None)
    assert "Traceback" not in child.before
    eventually(lambda: list(shell.folder.iterdir()) == [])
