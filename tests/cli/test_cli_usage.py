"""The command as a whole: its help, its version, and what happens around its commands."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from command_line import COMMAND, ENDPOINT, done, environment, published, refused, run_command

COMMANDS = (
    (),
    ("catalogue",),
    ("catalogue", "publish"),
    ("catalogue", "show"),
    ("equipment",),
    ("equipment", "register"),
    ("equipment", "show"),
    ("get",),
    ("put",),
    ("ls",),
    ("init",),
    ("stat",),
    ("rm",),
    ("watch",),
    ("migrate",),
    ("config",),
    ("config", "show"),
    ("config", "check"),
    ("plugins",),
    ("demo",),
)


@pytest.mark.one_interpreter
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_80_columns(command: tuple[str, ...]) -> None:
    lines = done(*command, "--help").splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(" ".join(("Usage: exlab-store", *command)))


def test_help_documents_the_exit_codes() -> None:
    text = done("-h")
    for code, meaning in enumerate(("done", "failed", "wrong usage", "not found", "conflict", "locked", "temporarily")):
        assert f"    {code}  {meaning}" in text


def test_help_imports_nothing_that_only_commands_need() -> None:
    program = (
        "import sys; from exlab_store.cli import app;"
        "print(sorted({'rich.progress', 'anyio', 'exlab_store.documents'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_the_version_is_the_distributions() -> None:
    assert done("--version") == f"exlab-store {version('exlab-store')}\n"


def test_the_installed_script_is_the_same_command() -> None:
    script = Path(sys.executable).with_name("exlab-store")
    result = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == done("--version")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("catalog",), "No such command 'catalog'"),
        (("catalogue", "show", "c.json"), "Missing option '--endpoint'"),
        (("catalogue", "show", "c.json", "--endpoint", " "), "Invalid value for '--endpoint': it is empty."),
        (("equipment", "show"), "Missing argument"),
        (("equipment", "show", "a", "b"), "unexpected extra argument"),
        (("demo", "--writers", "0"), "Invalid value for '--writers'"),
        (("demo", "--seconds", "soon"), "Invalid value for '--seconds'"),
        (("plugins", "--all"), "No such option"),
    ],
)
def test_wrong_usage_says_what_is_wrong(arguments: tuple[str, ...], message: str) -> None:
    said = refused(2, *arguments)
    assert message in said
    assert said.startswith("Usage: exlab-store")


def test_without_a_command_the_help_is_shown() -> None:
    result = run_command()
    assert result.returncode in {0, 2}  # as the version of typer has it
    assert "Exit codes:" in result.stdout + result.stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_one_sentence_says_what_to_install(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from exlab_store.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: the command exlab-store needs {missing}, which is not installed.\n"
        "Hint: pip install 'exlab-store[cli]'\n"
    )


def _catalogue(folder: Path) -> list[str]:
    return [*COMMAND, "catalogue", "show", str(published(folder / "c.json")), "--endpoint", ENDPOINT]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path: Path, form: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [*_catalogue(tmp_path), *form], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output_is_a_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(_catalogue(tmp_path), stdout=full, stderr=subprocess.PIPE, env=environment())
    assert result.returncode == 1
    assert result.stderr == b"Error: the output cannot be written: No space left on device.\n"


def test_standard_output_that_is_closed_is_a_sentence(tmp_path: Path) -> None:
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *_catalogue(tmp_path)], capture_output=True, env=environment()
    )
    assert (result.returncode, result.stderr) == (1, b"Error: standard output is closed.\n")


def test_a_fault_of_the_command_itself_is_a_sentence_too() -> None:
    program = (
        "import sys; sys.argv[1:] = ['plugins']; import exlab_store.cli.plugins as plugins\n"
        "def fail(*a, **k): secret = 'do not show'; raise KeyError('x\\x1b')\n"
        "plugins.show_plugins = fail\n"
        "from exlab_store.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: unexpected KeyError in ")
    assert "Traceback" not in result.stderr
    assert "do not show" not in result.stderr
    assert "\nHint: " in result.stderr


def test_programs_beside_the_command_are_not_imported_in_the_place_of_packages(tmp_path: Path) -> None:
    # impacket installs a smbclient.py there, and smbprotocol has a package of that name.
    (tmp_path / "smbclient.py").write_text("raise SystemExit('another program')\n")
    script = tmp_path / "exlab-store"
    script.write_text("from exlab_store.cli import main\nmain()\n")
    asked = [sys.executable, script, "ls", "smb://127.0.0.1:1/lab"]
    result = subprocess.run(asked, capture_output=True, text=True, env=environment(), check=False)
    assert "another program" not in result.stderr
    assert result.returncode == 6, result.stderr
