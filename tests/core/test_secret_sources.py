"""Where passwords are kept: what is read, and what is said when it is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exlab_store import ConfigError
from exlab_store.opening.secrets import SecretSource

keyring = pytest.importorskip("keyring", reason="install keyring to read passwords from one")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "nas"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def own_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a keyring that is the chosen one for the length of a test."""
    from site_keyring import VARIABLE, FileKeyring

    monkeypatch.setenv(VARIABLE, str(tmp_path / "keyring.json"))
    monkeypatch.setattr(keyring, "get_keyring", FileKeyring)
    return tmp_path / "keyring.json"


@pytest.mark.parametrize("content", ["pass word", "pass word\n", "pass word\r\n", "\ufeffpass word\n"])
def test_a_file_holds_the_password_and_perhaps_a_line_break(secret_file: Path, content: str) -> None:
    secret_file.write_bytes(content.encode())
    assert SecretSource(file=str(secret_file)).fetch(None).reveal() == "pass word"


@pytest.mark.parametrize("content", [" leading", "trailing ", "päß", "#no comment", '"quoted"'])
def test_a_password_is_taken_as_it_stands(secret_file: Path, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret_file.write_text(content, encoding="utf-8")
    monkeypatch.setenv("NAS_PASSWORD", content)
    assert SecretSource(file=str(secret_file)).fetch(None).reveal() == content
    assert SecretSource(env="NAS_PASSWORD").fetch(None).reveal() == content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"s3cret\nmore\n", "is longer than a line"),
        (b"s3cret\0", "is longer than a line"),
        (b"s3cret" * 1000, "is longer than a line"),
        (b"s3cret\xff", "it is not UTF-8"),
    ],
    ids=["empty", "empty line", "two lines", "NUL", "too long", "not UTF-8"],
)
def test_a_file_that_holds_something_else_is_refused(secret_file: Path, content: bytes, reason: str) -> None:
    secret_file.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        SecretSource(file=str(secret_file)).fetch(None)
    assert str(secret_file) in str(caught.value)
    assert caught.value.hint
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__!r}"


def test_a_file_that_is_missing_or_a_folder_or_no_name_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path, Path("nul\0")):
        with pytest.raises(ConfigError, match="cannot be read") as caught:
            SecretSource(file=str(path)).fetch(None)
        assert caught.value.field == "password"


def test_a_file_that_this_account_may_not_read_is_refused(secret_file: Path, needs_root: None) -> None:
    secret_file.chmod(0o000)
    secret_file.parent.chmod(0o755)
    program = (
        "import os, sys\n"
        "from exlab_store.opening.secrets import SecretSource\n"
        "from exlab_store import ConfigError\n"
        "file = os.open(sys.argv[1], os.O_PATH)\n"
        "os.setuid(65534)\n"
        "try: SecretSource(file=f'/proc/self/fd/{file}').fetch(None)\n"
        "except ConfigError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(secret_file)], capture_output=True, text=True, check=True
    )
    assert "cannot be read: Permission denied" in result.stdout


def test_a_file_that_everybody_may_read_is_worth_a_warning(secret_file: Path) -> None:
    source = SecretSource(file=str(secret_file))
    for mode, warned in ((0o600, False), (0o640, False), (0o644, True), (0o604, True)):
        secret_file.chmod(mode)
        assert (source.warning is not None) == warned
        assert source.fetch(None).reveal() == "s3cret"
    assert SecretSource(file=str(secret_file.parent / "missing")).warning is None
    assert SecretSource(env="X").warning is None


@pytest.mark.parametrize(("value", "reason"), [(None, "is not set"), ("", "is empty"), ("a\nb", "longer than a line")])
def test_a_variable_without_a_password_is_refused(
    value: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NAS_PASSWORD", raising=False)
    if value is not None:
        monkeypatch.setenv("NAS_PASSWORD", value)
    with pytest.raises(ConfigError, match=f"variable NAS_PASSWORD .*{reason}"):
        SecretSource(env="NAS_PASSWORD").fetch(None)


def test_a_keyring_gives_the_password_of_its_user_or_of_the_stores(own_keyring: Path) -> None:
    own_keyring.write_text('{"exlab/nas": "s3cret", "exlab/svc": "other"}')
    assert SecretSource(keyring="exlab", user="nas").fetch("svc").reveal() == "s3cret"
    assert SecretSource(keyring="exlab").fetch("svc").reveal() == "other"
    with pytest.raises(ConfigError, match="needs a user"):
        SecretSource(keyring="exlab").fetch(None)


def test_a_keyring_without_the_entry_says_how_to_make_one(own_keyring: Path) -> None:
    own_keyring.write_text("{}")
    with pytest.raises(ConfigError, match="no password of 'nas' for 'exlab'") as caught:
        SecretSource(keyring="exlab", user="nas").fetch(None)
    assert caught.value.hint == "Run: keyring set exlab nas"


def test_a_keyring_that_is_locked_says_so(own_keyring: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: KeyringLocked"):
        SecretSource(keyring="exlab", user="nas").fetch(None)


_FETCH = (
    "import sys\n"
    "{0}\n"
    "from exlab_store import ConfigError\n"
    "from exlab_store.opening.secrets import SecretSource\n"
    "try: SecretSource(keyring='exlab', user='nas').fetch(None)\n"
    "except ConfigError as error: print(error)\n"
)


@pytest.mark.parametrize(
    ("backend", "before", "said"),
    [
        ("keyring.backends.null.Keyring", "", "this machine has none"),
        ("keyring.backends.fail.Keyring", "", "this machine has none"),
        ("nowhere.Keyring", "", "cannot be read: ModuleNotFoundError"),
        ("", "sys.modules['keyring'] = None", "keyring is not installed. pip install 'exlab-store[keyring]'"),
    ],
    ids=["null", "fail", "not there", "not installed"],
)
def test_a_machine_without_a_keyring_says_so(backend: str, before: str, said: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _FETCH.format(before)],
        env=os.environ | ({"PYTHON_KEYRING_BACKEND": backend} if backend else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert said in result.stdout


@pytest.mark.parametrize(
    "members", [{}, {"env": "A", "file": "b"}, {"env": "A", "user": "u"}, {"env": ""}, {"keyring": "k", "user": ""}]
)
def test_exactly_one_place_is_given(members: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"exactly one|belongs to|is empty"):
        SecretSource(**members)


def test_a_source_says_where_it_looks_and_never_what_it_found(secret_file: Path) -> None:
    source = SecretSource(file=str(secret_file))
    source.fetch(None)
    assert str(source) == f"file {secret_file}"
    assert "s3cret" not in repr(source)
    assert str(SecretSource(env="NAS")) == "environment variable NAS"
    assert str(SecretSource(keyring="exlab", user="nas")) == "keyring 'exlab'"
