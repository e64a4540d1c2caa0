"""``exlab-store config``, ``--config``, and names of stores wherever a location is taken."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from command_line import ANSWER, COMMAND, ENDPOINT, _run_here, environment, refused, run_command

from exlab_store import open_store
from exlab_store.opening import locations as resolving
from exlab_store.opening.configuration import FILE_NAME, VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

    from samba_server import SambaServer


@pytest.fixture(autouse=True)
def nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but the test's; what the command sets in this process is taken back."""
    resolving._forget()  # a command is a process that has opened nothing yet
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "account"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "machine"))


def done(*arguments: str | Path, cwd: Path | None = None) -> str:
    """What the command prints when all is well; in this process, as nothing here depends on one of its own."""
    result = _run_here(*arguments, cwd=cwd)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def done_json(*arguments: str | Path, cwd: Path | None = None) -> Any:
    """The same, as JSON."""
    return json.loads(done(*arguments, "--json", cwd=cwd))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A configuration of a local directory."""
    (tmp_path / "lab").mkdir()
    (tmp_path / FILE_NAME).write_text(
        f"[stores.lab]\nurl = '{tmp_path}/lab'\nrequire = {{ durable = false, lock_scope = 'host' }}\n"
        "observers = ['log']\n"
    )
    return tmp_path / FILE_NAME


def _add(site: Path, name: str, text: str) -> None:
    with site.open("a") as file:
        file.write(f"[stores.{name}]\n{text}\n")


def _shown(site: Path, name: str) -> dict[str, tuple[Any, str]]:
    answer = done_json("config", "show", "--config", site)
    return {row["name"]: (row["value"], row["source"]) for row in answer["stores"][name]["settings"]}


# show


def test_each_value_is_shown_with_where_it_comes_from(site: Path, tmp_path: Path) -> None:
    assert _shown(site, "lab") == {
        "url": (f"file://{tmp_path}/lab", "file"),
        "username": (None, "default"),
        "password": (None, "default"),
        "require.atomic_replace": (False, "default"),
        "require.durable": (False, "file"),
        "require.conditional_write": ("none", "default"),
        "require.lock_scope": ("host", "file"),
        "require.lock_release": ("explicit", "default"),
        "require.fenced": (False, "default"),
        "require.lists": (False, "default"),
        "require.deletes": (False, "default"),
        "require.fresh": ("none", "default"),
        "require.watch": ("none", "default"),
        "observers": (["log"], "file"),
    }


@pytest.mark.parametrize(
    ("account", "username", "password"),
    [
        ("url = 'smb://u:s3cret@nas01/lab'", ("u", "url"), ("***", "url, in clear")),
        ("url = 'smb://nas01/lab'\nusername = 'u'\npassword = 's3cret'", ("u", "file"), ("***", "file, in clear")),
        ("url = 'smb://nas01/lab'\npassword = { env = 'NAS' }", (None, "default"), ("***", "environment variable NAS")),
        ("url = 'smb://u@nas01/lab'\npassword = { keyring = 'k' }", ("u", "url"), ("***", "keyring 'k'")),
        ("url = 'smb://nas01/lab'\npassword = { file = '/run/nas' }", (None, "default"), ("***", "file /run/nas")),
    ],
)
def test_a_password_is_hidden_and_its_place_is_shown(
    account: str, username: tuple[Any, str], password: tuple[Any, str], site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS", "s3cret")
    _add(site, "nas", f"{account}\noptions = {{ timeout = 5, token = 's3cret', deep = {{ a = ['s3cret', 1] }} }}")
    result = _run_here("config", "show", "--json", "--config", site)
    shown = {
        row["name"]: (row["value"], row["source"]) for row in json.loads(result.stdout)["stores"]["nas"]["settings"]
    }
    assert (shown["username"], shown["password"]) == (username, password)
    assert shown["options.timeout"] == (5, "file")
    # Text may be a key or a token: only the backend knows.
    assert (shown["options.token"], shown["options.deep"]) == (("***", "file"), ({"a": ["***", 1]}, "file"))
    assert "s3cret" not in result.stdout


def test_the_tables_fit_80_columns_and_a_password_in_clear_is_a_warning(site: Path) -> None:
    _add(site, "nas", f"url = 'smb://nas01/lab/{'folder/' * 12}'\npassword = 's3cret'")
    result = _run_here("config", "show", "--config", site)
    assert result.returncode == 0
    assert max(map(len, result.stdout.splitlines()[1:])) <= 80
    assert re.search(r"^ require.lock_scope +host +file$", result.stdout, re.MULTILINE)
    assert re.search(r"^ require.\* +nothing else +default$", result.stdout, re.MULTILINE)
    assert re.search(r"^ password +\*\*\* +file, in clear$", result.stdout, re.MULTILINE)
    assert result.stderr == (
        "Warning: @nas: its password stands in the file in clear; keep it in a keyring, a file or the environment.\n"
    )


def test_the_file_and_why_it_is_this_one_are_shown(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_line(*arguments: str | Path) -> str:
        return done(*arguments, "config", "show", cwd=tmp_path).splitlines()[0]

    assert first_line() == f"{site}, named by the working directory: 1 store"
    assert first_line("--config", FILE_NAME) == f"{site}, named by --config: 1 store"
    monkeypatch.setenv(VARIABLE, f"{tmp_path}/./{FILE_NAME}")
    assert first_line() == f"{tmp_path}/./{FILE_NAME}, named by the environment variable {VARIABLE}: 1 store"
    monkeypatch.setenv(VARIABLE, "/nowhere.toml")
    assert first_line("--config", site) == f"{site}, named by --config: 1 store"


def test_config_may_be_named_before_and_after_the_command(site: Path) -> None:
    expected = done("--config", site, "config", "show")
    assert done("config", "--config", site, "show") == expected
    assert done("config", "show", "--config", site) == expected


@pytest.mark.parametrize("command", ["show", "check"])
def test_without_a_configuration_the_places_are_named(command: str, tmp_path: Path) -> None:
    said = refused(1, "config", command, cwd=tmp_path)
    assert said.startswith("Error: there is no configuration of stores.\nHint: Looked for in: the working directory")
    assert f"{tmp_path}/account/exlab-store/{FILE_NAME}" in said
    error = json.loads(refused(1, "config", command, "--json", cwd=tmp_path))["error"]
    assert error["code"] == "config_error"


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert "Invalid value for '--config'" in refused(2, "--config", tmp_path / "no.toml", "config", "show")
    assert "Invalid value for '--config'" in refused(2, "--config", tmp_path, "plugins")


def test_a_mistake_in_the_file_is_said_with_its_key(site: Path) -> None:
    _add(site, "nas", "url = 'smb://nas01/lab'\nrequire = { lock_scope = 'sight' }")
    said = refused(1, "config", "check", "--config", site)
    assert said == (
        f"Error: {site}: stores.nas.require.lock_scope is wrong.\nHint: Expected: 'none', 'process', 'host', 'site'.\n"
    )
    error = json.loads(refused(1, "config", "check", "--config", site, "--json"))["error"]
    assert error["field"] == "stores.nas.require.lock_scope"


# check


def test_stores_that_open_are_ok(site: Path, tmp_path: Path) -> None:
    text = done("config", "check", "--config", site)
    assert re.search(rf"^@lab +ok +file://{tmp_path}/lab, opened in \d+ ms$", text, re.MULTILINE)
    (answer,) = done_json("config", "check", "--config", site)["stores"]
    with open_store(tmp_path / "lab") as store:
        assert answer["guarantees"]["lock_scope"] == store.guarantees.lock_scope == "host"
    assert (answer["name"], answer["ok"], answer["error"], answer["hint"]) == ("lab", True, None, None)


def test_each_store_that_does_not_open_says_why_and_the_others_are_opened(
    site: Path, tmp_path: Path, samba: SambaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(site, "nas", f"url = '{samba.url()}'\npassword = {{ env = 'NAS' }}\nrequire = {{ lock_scope = 'site' }}")
    _add(site, "wrong", f"url = '{samba.url()}'\npassword = {{ env = 'WRONG' }}")
    _add(site, "unset", f"url = '{samba.url()}'\npassword = {{ env = 'NOBODY_SET_IT' }}")
    _add(site, "weak", f"url = '{tmp_path}/lab'\nrequire = {{ lock_scope = 'site' }}")
    _add(site, "gone", f"url = '{tmp_path}/gone'")
    _add(site, "typo", f"url = '{tmp_path}/lab'\nobservers = ['lgo']")
    monkeypatch.setenv("NAS", samba.password)
    monkeypatch.setenv("WRONG", "wrong")
    result = _run_here("config", "check", "--config", site, "--json")
    assert result.returncode == 1  # they failed for different reasons
    answers = {answer["name"]: answer for answer in json.loads(result.stdout)["stores"]}
    assert {name: answer["ok"] for name, answer in answers.items()} == {
        "lab": True,
        "nas": True,
        **dict.fromkeys(["wrong", "unset", "weak", "gone", "typo"], False),
    }
    assert {name: answer["error"]["code"] for name, answer in answers.items() if not answer["ok"]} == {
        "wrong": "access_denied",
        "unset": "config_error",
        "weak": "guarantee_not_met",
        "gone": "invalid_location",
        "typo": "config_error",
    }
    assert answers["weak"]["error"]["details"]["shortfalls"][0]["guarantee"] == "lock_scope"
    assert all(answer["hint"] for answer in answers.values() if not answer["ok"])
    text = _run_here("config", "check", "--config", site)
    assert (text.returncode, text.stderr) == (1, "")
    said = " ".join(text.stdout.split())
    assert "@unset failed" in said
    assert "environment variable NOBODY_SET_IT is not set." in said
    assert "Set NOBODY_SET_IT to the password." in said
    assert len(text.stdout.splitlines()) == 1 + len(answers)  # one line for each


def test_one_reason_is_the_exit_code(site: Path, samba: SambaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        _add(site, name, f"url = '{samba.url()}'\npassword = {{ env = 'NAS' }}\noptions = {{ connect_timeout = 0.5 }}")
    monkeypatch.setenv("NAS", samba.password)
    samba.stop()
    result = _run_here("config", "check", "--config", site)
    assert result.returncode == 6
    assert len(re.findall(r"^@. +failed", result.stdout, re.MULTILINE)) == 2


def test_only_the_stores_that_are_named_are_opened(site: Path) -> None:
    _add(site, "gone", "url = '/nowhere'")
    for name in ("lab", "@lab"):
        assert [each["name"] for each in done_json("config", "check", name, "--config", site)["stores"]] == ["lab"]
    said = refused(2, "config", "check", "@lav", "--config", site)
    assert "names no store 'lav'" in said
    assert "It names @gone, @lab." in said


def test_warnings_of_a_check_are_beside_its_answer(site: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o644)
    _add(site, "nas", f"url = 'smb://nas01.invalid/lab'\npassword = {{ file = '{secret}' }}")
    result = _run_here("config", "check", "--config", site)
    assert f"Warning: @nas: every account of this machine may read its password's file {secret}" in result.stderr
    answers = json.loads(_run_here("config", "check", "--config", site, "--json").stdout)["stores"]
    assert "chmod o-r" in answers[1]["warning"]
    assert answers[0]["warning"] is None


def test_a_check_fits_a_terminal(site: Path) -> None:
    pexpect = pytest.importorskip("pexpect", reason="install pexpect to run the command in a terminal")
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "--config", str(site), "config", "check"],
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=60,
        env=environment(),
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.before)
    assert "Opening @lab" in plain
    assert max(len(line) for line in re.split(r"[\r\n]+", plain) if str(site) not in line) <= 80


# Names wherever a location is taken


def test_every_command_takes_a_name(site: Path, tmp_path: Path) -> None:
    named = ("--config", site)
    said = done(*named, "catalogue", "publish", ANSWER, "@lab/lims.json", "--endpoint", ENDPOINT)
    assert said.endswith(f" as file://{tmp_path}/lab/lims.json.\n")
    assert "PROJ-0001" in done(*named, "catalogue", "show", "@lab/lims.json", "--endpoint", ENDPOINT)
    registered = ("--id", "A", "--label", "a", "--local-root", "/", "--nas-root", "/")
    done(*named, "equipment", "register", "@lab/A/e.json", *registered)
    assert done_json(*named, "equipment", "show", "@lab/A/e.json")["id"] == "A"
    assert (tmp_path / "lab" / "A" / "e.json").exists()
    backends = {backend["scheme"]: backend for backend in done_json(*named, "plugins", "--at", "@lab/A")["backends"]}
    assert backends["file"]["guarantees_at"] == f"file://{tmp_path}/lab/A"


def test_the_demo_and_its_processes_take_a_name(site: Path, tmp_path: Path) -> None:
    short = ("--seconds", "0.1", "--writers", "1", "--readers", "1")
    answer = done_json("--config", FILE_NAME, "demo", "--at", "@lab", *short, cwd=tmp_path)
    assert answer["sound"]
    assert answer["location"].startswith(f"file://{tmp_path}/lab/exlab-store-demo-")
    assert list((tmp_path / "lab").iterdir()) == []


def test_a_warning_of_the_log_observer_is_not_a_second_error(site: Path, tmp_path: Path) -> None:
    (tmp_path / "lab" / "e.json").write_text("{not json")
    registered = ("--id", "A", "--label", "a", "--local-root", "/", "--nas-root", "/")
    result = run_command("--config", site, "equipment", "register", "@lab/e.json", *registered)
    assert result.returncode == 0
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["Warning"]
    assert "corrupt" in result.stderr
    assert "read_snapshot" not in result.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [("@/e.json", "names no store"), ("@lav/e.json", "names no store 'lav'"), ("@lab", "names no document")],
)
def test_a_name_that_is_none_is_wrong_usage(name: str, said: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(site))
    assert said in refused(2, "equipment", "show", name)
