"""Stores that a site's configuration names: where it is looked for, what it may say, and what it means."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from exlab_store import (
    ConfigError,
    GuaranteeNotMet,
    Guarantees,
    LocationError,
    StoreError,
    UnknownScheme,
    as_document,
    open_store,
)
from exlab_store.opening.configuration import (
    FILE_NAME,
    VARIABLE,
    Configuration,
    candidates,
    find_configuration,
    named_store,
)
from exlab_store.opening.secrets import SecretSource


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No configuration but the test's: the working directory, the environment, the platform's folders."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "account"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "machine"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return tmp_path


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _read(tmp_path: Path, text: str) -> Configuration:
    return Configuration.read(_written(tmp_path / "site.toml", text))


def _refused(tmp_path: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        _read(tmp_path, text)
    assert caught.value.location == str(tmp_path / "site.toml")
    return caught.value


# Where it is found


def test_the_first_place_that_has_one_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = "[stores.{}]\nurl = 'memory://'\n"
    found: list[str] = []

    def now_found() -> None:
        configuration = find_configuration()
        found.append(f"{configuration.found}: {', '.join(configuration.stores)}")

    for folder in ("machine", "account"):
        _written(tmp_path / folder / "exlab-store" / FILE_NAME, table.format(folder))
        now_found()
    _written(tmp_path / "here" / FILE_NAME, table.format("here"))
    now_found()
    monkeypatch.setenv(VARIABLE, str(_written(tmp_path / "named.toml", table.format("named"))))
    now_found()
    assert found == [
        "this machine's configuration: machine",
        "this account's configuration: account",
        "the working directory: here",
        f"the environment variable {VARIABLE}: named",
    ]
    assert list(find_configuration(_written(tmp_path / "x.toml", table.format("given"))).stores) == ["given"]


def test_an_empty_variable_names_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    _written(tmp_path / "here" / FILE_NAME, "")
    assert find_configuration().path == str(tmp_path / "here" / FILE_NAME)


def test_a_file_that_the_environment_names_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _written(tmp_path / "here" / FILE_NAME, "")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing.toml"))
    with pytest.raises(ConfigError, match="cannot be read: No such file") as caught:
        find_configuration()
    assert caught.value.location == str(tmp_path / "missing.toml")
    assert VARIABLE in str(caught.value.hint)


def test_without_one_the_error_says_where_it_was_looked_for(tmp_path: Path) -> None:
    for refused in (find_configuration, lambda: open_store("@catalogue")):
        with pytest.raises(StoreError, match="there is no configuration of stores") as caught:
            refused()
        for candidate in candidates():
            assert candidate.path in str(caught.value.hint)
    assert isinstance(caught.value, LocationError)
    assert caught.value.location == "@catalogue"


def test_a_working_directory_that_is_gone_is_no_place(tmp_path: Path) -> None:
    _written(tmp_path / "account" / "exlab-store" / FILE_NAME, "[stores.a]\nurl = 'memory://'")
    (tmp_path / "here").rmdir()
    assert list(find_configuration().stores) == ["a"]


# What it may say


def test_a_whole_table_is_read(tmp_path: Path) -> None:
    entry = _read(
        tmp_path,
        "\ufeff"
        '[stores.catalogue]\nurl = "smb://nas01/lab/.exlab-wizard"\nusername = "svc-exlab"\n'
        'password = { keyring = "exlab-wizard", user = "nas" }\n'
        'require = { durable = true, lock_scope = "site" }\nobservers = ["log"]\noptions = { timeout = 10 }\n',
    ).stores["catalogue"]
    assert entry.url == "smb://nas01/lab/.exlab-wizard"
    assert entry.username == "svc-exlab"
    assert entry.password == SecretSource(keyring="exlab-wizard", user="nas")
    assert entry.require == Guarantees.at_least(durable=True, lock_scope="site")
    assert (entry.observers, entry.options, entry.warning) == (("log",), {"timeout": 10}, None)


_URL = "url = 'memory://x'\n"


@pytest.mark.parametrize(
    ("table", "field", "expected"),
    [
        ("", "url", "is missing"),
        ("url = 3", "url", "expected text, got a number"),
        ("url = 'data/lab'", "url", "the path is relative"),
        ("url = ''", "url", "the location is empty"),
        ("url = '@other'", "url", "the name of a store"),
        ("url = 'smb://nas01/lab?x'", "url", "no query"),
        (_URL + "username = 3", "username", "expected text, got a number"),
        (_URL + "username = ''", "", "`username` is empty"),
        (_URL + "password = ''", "", "`password` is empty"),
        (
            _URL + "pasword = 's3cret'",
            "pasword",
            "Expected: url, username, password, require, observers, ignore, watch_interval, options.",
        ),
        (_URL + "password = 3", "password", "expected text, or a table with keyring, env or file, got a number"),
        (_URL + "password = {}", "password", "exactly one of `keyring`, `env` and `file`"),
        (_URL + "password = { env = 'A', file = 'b' }", "password", "exactly one of `keyring`, `env` and `file`"),
        (_URL + "password = { env = 'A', user = 'u' }", "password", "`user` belongs to `keyring`"),
        (_URL + "password = { enw = 's3cret' }", "password.enw", "Expected: keyring, user, env, file."),
        (_URL + "require = { durabel = true }", "require.durabel", "Expected: atomic_replace, durable,"),
        (_URL + "require = { durable = 'yes' }", "require.durable", "expected true or false, got text"),
        (_URL + "require = { lock_scope = 'sight' }", "require.lock_scope", "'none', 'process', 'host', 'site'"),
        (_URL + "require = { watch = 'push' }", "require.watch", "'none', 'polled', 'pushed'"),
        (_URL + "require = { lock_scope = true }", "require.lock_scope", "'none', 'process', 'host', 'site'"),
        (_URL + "require = 'durable'", "require", "expected a table, got text"),
        (_URL + "observers = 'log'", "observers", "expected a list, got text"),
        (_URL + "observers = ['log', 3]", "observers[1]", "expected text, got a number"),
        (_URL + "options = 3", "options", "expected a table, got a number"),
        (_URL + "options = { password = 's3cret' }", "", "`password` belongs beside `options`"),
        ("url = 'smb://u@nas01/lab'\nusername = 'v'", "", "stands in `url` and in `username`"),
        ("url = 'smb://u:s3cret@nas01/lab'\npassword = { env = 'A' }", "", "stands in `url` and in `password`"),
    ],
)
def test_what_is_wrong_is_said_with_the_key_and_what_was_expected(
    tmp_path: Path, table: str, field: str, expected: str
) -> None:
    error = _refused(tmp_path, f"[stores.nas]\n{table}\n")
    assert error.field == ("stores.nas" + (f".{field}" if field else ""))
    assert str(error.field) in str(error)
    assert expected in str(error)
    assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[store.nas]\nurl = 'memory://'", "'store' is not expected here"),
        ("stores = 3", "'stores' is not expected here"),
        ("[stores]\nnas = 3", "stores.nas is wrong: expected a table, got a number"),
        ("[stores.'a/b']\nurl = 'memory://'", "'a/b' is no name for a store"),
        ("[stores.'a:b']\nurl = 'memory://'", "'a:b' is no name for a store"),
        ("[stores.'']\nurl = 'memory://'", "'' is no name for a store"),
        ("[stores.nas\nurl = 's3cret'", "is not TOML: Expected ']' at the end of a table declaration (at line 1"),
        ("[stores.nas]\npassword = 's3cret", "is not TOML"),
        ("[stores.nas]\npassword = s3cret", "is not TOML"),
        ("[stores.nas]\npassword = 's3cret'\npassword = 's3cret'", "is not TOML"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    error = _refused(tmp_path, text)
    assert expected in str(error)
    assert "s3cret" not in str(error)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match="is not TOML: 'utf-8' codec"):
        Configuration.read(tmp_path / "site.toml")
    with pytest.raises(ConfigError, match="cannot be the name of a file"):
        Configuration.read("nul\0")


def test_what_stands_in_the_file_is_known_from_what_is_left_to_its_default(tmp_path: Path) -> None:
    configuration = _read(
        tmp_path, f"[stores.a]\n{_URL}require = {{ durable = false }}\noptions = {{ x = {{ y = 1 }} }}\n"
    )
    assert configuration.given == {"a": {"url", "require.durable", "options.x"}}


# What it means


def test_a_name_and_a_folder_open_the_store(tmp_path: Path) -> None:
    (tmp_path / "lab" / "CONFOCAL_01").mkdir(parents=True)
    config = _written(tmp_path / "site.toml", f"[stores.lab]\nurl = '{tmp_path}/lab/'\n")
    for name, url in (
        ("@lab", f"file://{tmp_path}/lab"),
        ("@lab/", f"file://{tmp_path}/lab"),
        ("@lab/CONFOCAL_01", f"file://{tmp_path}/lab/CONFOCAL_01"),
        ("@lab//CONFOCAL_01/", f"file://{tmp_path}/lab/CONFOCAL_01"),
    ):
        with open_store(name, config=config) as store:
            assert str(store.location) == url


def test_a_document_is_named_like_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(_written(tmp_path / "site.toml", f"[stores.box]\nurl = '{tmp_path}'\n")))
    document = as_document("@box/new/a.json")
    document.atomic_write(b"1")
    assert (tmp_path / "new" / "a.json").read_bytes() == b"1"
    assert as_document("@box/new/a.json") is document
    with pytest.raises(LocationError, match="names no document"):
        as_document("@box")


@pytest.mark.parametrize("name", ["@", "@/x", "@lab/..", "@lab/../x", "@lab/./x", "@lab/\0"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    config = _written(tmp_path / "site.toml", f"[stores.lab]\nurl = '{tmp_path}'\n")
    with pytest.raises(LocationError, match="this names no store") as caught:
        open_store(name, config=config)
    assert caught.value.location == repr(name)
    assert caught.value.hint == "Write @name or @name/folder."


@pytest.mark.parametrize("name", ["@smb://u:s3cret@h/lab", "@u:s3cret@h", "@lab:s3cret@/x"])
def test_a_url_that_was_taken_for_a_name_shows_no_password(name: str, tmp_path: Path) -> None:
    config = _written(tmp_path / "here" / FILE_NAME, f"[stores.lab]\nurl = '{tmp_path}'\n")
    for refused in (lambda: open_store(name, config=config), lambda: as_document(name)):
        with pytest.raises(LocationError) as caught:
            refused()
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_store_that_the_file_does_not_name_is_refused_with_those_it_names(tmp_path: Path) -> None:
    config = _written(tmp_path / "site.toml", f"[stores.b]\n{_URL}[stores.a]\n{_URL}")
    with pytest.raises(LocationError, match="names no store 'c'") as caught:
        open_store("@c", config=config)
    assert caught.value.hint == "It names @a, @b."
    assert str(config) in str(caught.value)


def test_what_the_file_and_the_program_require_is_required_together(tmp_path: Path) -> None:
    config = _written(tmp_path / "site.toml", f"[stores.a]\n{_URL}require = {{ lock_scope = 'site' }}\n")
    for require, missing in (
        (None, ["lock_scope"]),
        (Guarantees.at_least(lock_scope="process"), ["lock_scope"]),
        (Guarantees.at_least(durable=True), ["durable", "lock_scope"]),
    ):
        with pytest.raises(GuaranteeNotMet) as caught:
            open_store("@a", config=config, require=require)
        assert [shortfall.guarantee for shortfall in caught.value.shortfalls] == missing


def test_the_program_s_options_come_before_the_file_s(tmp_path: Path) -> None:
    config = _written(tmp_path / "site.toml", f"[stores.a]\nurl = '{tmp_path}'\noptions = {{ nonsense = 1 }}\n")
    with pytest.raises(LocationError, match="nonsense"):
        open_store("@a", config=config)
    smb = _written(tmp_path / "smb.toml", "[stores.a]\nurl = 'smb://nas01/lab'\noptions = { timeout = 'soon' }\n")
    with pytest.raises(LocationError) as of_the_file:
        open_store("@a", config=smb)
    with pytest.raises(LocationError) as of_the_program:
        open_store("@a", config=smb, timeout=-1)
    assert "positive" not in str(of_the_file.value)
    assert "positive" in str(of_the_program.value)


def test_the_observers_of_the_file_watch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = _written(tmp_path / "site.toml", f"[stores.a]\nurl = '{tmp_path}'\nobservers = ['log']\n")
    with caplog.at_level(logging.INFO, logger="exlab_store"), open_store("@a", config=config) as store:
        store.atomic_write("k", b"1")
    assert [record.getMessage().partition(" in ")[0] for record in caplog.records] == ["atomic_write k"]


def test_the_password_is_fetched_for_the_backend_and_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_PASSWORD", "s3cret")
    config = _written(
        tmp_path / "site.toml",
        "[stores.a]\nurl = 'smb://nas01/lab'\nusername = 'svc'\npassword = { env = 'NAS_PASSWORD' }\n"
        "[stores.b]\nurl = 'smb://svc:s3cret@nas01/lab'\noptions = { token = 's3cret' }\n",
    )
    entry, folder = named_store("@a/x", config)
    location = entry.location(folder)
    assert (location.username, location.password, location.path) == ("svc", "s3cret", "/lab/x")
    clear, _ = named_store("@b", config)
    configuration = Configuration.read(config)
    shown = f"{entry!r} {location!r} {location} {clear!r} {clear.location()!r} {configuration!r} {configuration}"
    assert "s3cret" not in shown


def test_the_account_of_the_program_comes_before_the_file_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAS_PASSWORD", raising=False)
    entry, _ = named_store(
        "@a",
        _written(
            tmp_path / "site.toml",
            "[stores.a]\nurl = 'smb://nas01/lab'\nusername = 'svc'\npassword = { env = 'NAS_PASSWORD' }\n",
        ),
    )
    # The backend finds them among its options; what is not used need not be there.
    location = entry.location("", {"username": "me", "password": "s3cret"})
    assert (location.username, location.password) == (None, None)
    location = entry.location("", {"password": "s3cret"})
    assert (location.username, location.password) == ("svc", None)


def test_a_password_that_is_not_there_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAS_PASSWORD", raising=False)
    config = _written(
        tmp_path / "site.toml", "[stores.a]\nurl = 'smb://nas01/lab'\npassword = { env = 'NAS_PASSWORD' }\n"
    )
    with pytest.raises(ConfigError, match="@a: the environment variable NAS_PASSWORD is not set"):
        open_store("@a", config=config)


def test_a_password_s_file_is_looked_for_beside_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for path in (tmp_path / "etc" / "nas", tmp_path / "home" / "nas", tmp_path / "run" / "nas"):
        _written(path, path.parent.name).chmod(0o600)
    for written, found in (("nas", "etc"), ("../run/nas", "run"), ("~/nas", "home"), (f"{tmp_path}/run/nas", "run")):
        text = f"[stores.a]\nurl = 'smb://nas01/lab'\npassword = {{ file = '{written}' }}\n"
        entry, _ = named_store("@a", _written(tmp_path / "etc" / "site.toml", text))
        assert entry.location().password == found


@pytest.mark.parametrize("secret", ["url = 'smb://u:s3cret@h/lab'", "url = 'smb://h/lab'\npassword = 's3cret'"])
def test_a_password_in_clear_works_and_is_a_warning(
    secret: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = _written(tmp_path / "site.toml", f"[stores.a]\n{secret}\n")
    entry, _ = named_store("@a", config)
    assert entry.location().password == "s3cret"
    assert "in clear" in str(entry.warning)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("exlab_store", logging.WARNING)
    assert record.getMessage().startswith(f"{config}: stores.a: its password stands in the file in clear")
    assert "s3cret" not in caplog.text


def test_an_observer_and_a_scheme_that_nobody_has_are_refused(tmp_path: Path) -> None:
    config = _written(
        tmp_path / "site.toml", f"[stores.a]\n{_URL}observers = ['lgo']\n[stores.b]\nurl = 'tape://x/y'\n"
    )
    with pytest.raises(ConfigError, match="no installed observer is called 'lgo'") as caught:
        open_store("@a", config=config)
    assert "log, otel" in str(caught.value.hint)
    with pytest.raises(UnknownScheme):
        open_store("@b", config=config)


def test_who_gives_urls_loads_nothing_for_names(tmp_path: Path) -> None:
    program = (
        f"import sys; from exlab_store import open_store; open_store({os.fspath(tmp_path)!r}).close()\n"
        "print(sorted({'tomllib', 'platformdirs', 'keyring', 'exlab_store.opening.configuration'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
