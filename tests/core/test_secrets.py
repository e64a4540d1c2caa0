"""Passwords stay hidden: in tracebacks with variables, in what prints objects, in pickles and encodings."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from io import StringIO
from pprint import pformat
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from exlab_store import Location, LocationError, PluginError, Secret, StoreError, as_document, open_store
from exlab_store.opening.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samba_server import SambaServer

_PASSWORD = "hunter2"
_CUT = [
    "smb://lab:2024/hunter2@nas01/lab",
    "smb://lab:/hunter2@nas01/lab",
    "smb://lab:445/hunter2@x/y@nas01/lab",
    "smb://lab:p@hunter2/x@nas01/lab",
    "smb://lab@site:2024/hunter2@nas01/lab",
    "smb://lab:hunter2",
    "smb://lab:hunter2/x",
    "smb://lab:?hunter2@nas01/lab",
    "smb://lab:20#hunter2@nas01/lab",
    "smb://lab:20?x@hunter2#@nas01/lab",
    "smb://lab:2024/hunter2#@nas01/lab",
    "memory://lab:2024/hunter2@name",
    "file://lab:2024/hunter2@localhost/lab",
]


def _with_variables(error: BaseException, *, rich: bool = True) -> str:
    """Everything that a traceback of an error can show, variables of the frames below the caller's included."""
    whole = error.__traceback__
    assert whole is not None
    below = whole.tb_next
    plain = traceback.TracebackException(type(error), error, below, capture_locals=True)
    if not rich:
        return "".join(plain.format())
    shown = StringIO()
    console = Console(file=shown, width=400)
    frames = Traceback.from_exception(type(error), error, below, show_locals=True, locals_max_string=10_000)
    console.print(frames)
    return "".join(plain.format()) + shown.getvalue()


def _everything_of(error: BaseException, *, rich: bool = True) -> str:
    """What an error, its causes and its contexts hold and show, whether a traceback would follow them or not."""
    texts = [_with_variables(error, rich=rich)]
    each: BaseException | None = error
    seen: list[BaseException] = []
    while each is not None and each not in seen:
        seen.append(each)
        texts += [str(each), repr(each), repr(each.args), repr(getattr(each, "object", "")), repr(vars(each))]
        if isinstance(each, StoreError):
            texts.append(json.dumps(each.envelope()))
        each = each.__cause__ or each.__context__
    return "\n".join(texts)


def _failure_of(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except Exception as error:  # whatever it is
        # The frame of the call itself is the test's, with the password that the test has.
        return error.with_traceback(error.__traceback__.tb_next if error.__traceback__ else None)
    raise AssertionError("it has not failed")


@pytest.mark.parametrize("url", _CUT)
def test_a_user_info_that_looks_cut_is_refused_and_shown_up_to_its_first_colon(url: str) -> None:
    error = _failure_of(lambda: open_store(url))
    assert isinstance(error, LocationError)
    assert error.location in {"smb://lab:***", "smb://lab@site:***", "memory://lab:***", "file://lab:***"}
    assert _PASSWORD not in _everything_of(error)


@pytest.mark.parametrize("url", _CUT)
def test_so_it_is_for_the_location_of_a_document(url: str) -> None:
    assert _PASSWORD not in _everything_of(_failure_of(lambda: as_document(f"{url}/a.json")))


@pytest.mark.parametrize("url", _CUT)
def test_so_it_is_for_the_url_of_a_configuration(url: str, tmp_path: Path) -> None:
    file = tmp_path / "exlab-store.toml"
    file.write_text(f"[stores.nas]\nurl = '{url}'\n")
    error = _failure_of(lambda: open_store("@nas", config=file))
    assert "stores.nas.url is wrong" in str(error)
    assert _PASSWORD not in _everything_of(error)


def test_what_to_do_about_it_is_said() -> None:
    with pytest.raises(LocationError, match="In the password, write %2F for '/'"):
        Location.parse("smb://lab:2024/Spring@nas01/lab")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("smb://nas01/lab/mail@site", "/lab/mail@site"),
        ("smb://lab@nas01/lab/mail@site", "/lab/mail@site"),
        ("smb://[fe80::1]/lab/mail@site", "/lab/mail@site"),
        ("smb://nas01:445/lab/mail%40site", "/lab/mail@site"),
        ("smb://lab:pw@nas01/lab/mail%40site", "/lab/mail@site"),
        ("file:///data/10:30/mail@site", "/data/10:30/mail@site"),
    ],
)
def test_an_at_sign_in_the_path_is_read_where_it_ends_no_user_info(url: str, path: str) -> None:
    location = Location.parse(url)
    assert location.path == path
    assert Location.parse(str(location)).path == path


_characters = st.characters(exclude_categories=["Cs"])
_passwords = st.one_of(st.text(_characters, max_size=20), st.text("0123456789/?#@:%[]\\ &;", max_size=12))
_users = st.sampled_from(["lab", "LAB;svc", "svc@lab.example", "", "DOMAIN\\svc", "DOMAIN/svc"])
_ends = st.sampled_from(["nas01/lab", "nas01:445/lab", "nas01:port/lab", "[fe80::1]/lab", "nas01/lab?x=1", "nas01/a@b"])
_MARK = "S3cr3t"


def _ensure_hidden(user: str, before: str, after: str, end: str) -> None:
    secret = f"{before}{_MARK}{after}"
    try:
        location = Location.parse(f"nosuchscheme://{user}:{secret}@{end}")
    except StoreError:
        pass
    else:
        assert _MARK not in f"{location} {location!r} {pretty_repr(location)} {pformat(location)}"
    for call in (open_store, as_document):
        error = _failure_of(lambda call=call: call(f"nosuchscheme://{user}:{before}{_MARK}{after}@{end}"))  # type: ignore[misc]
        assert _MARK not in _everything_of(error, rich=False)  # which takes 100 ms


@given(_users, _passwords, _passwords, _ends)
@example("lab", "2024/", "", "nas01/lab")
@example("lab", "/", "", "nas01/lab")
@example("lab", "", "%ff", "nas01/lab")
@settings(deadline=None, max_examples=300)
def test_no_error_about_a_url_shows_any_of_its_password(user: str, before: str, after: str, end: str) -> None:
    _ensure_hidden(user, before, after, end)


@pytest.mark.slow
@given(_users, _passwords, _passwords, _ends)
@settings(deadline=None, max_examples=10_000)
def test_no_error_about_ten_thousand_urls_shows_any_of_its_password(
    user: str, before: str, after: str, end: str
) -> None:
    _ensure_hidden(user, before, after, end)


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(_PASSWORD)
    shown = [f"{secret} {secret!r} {secret:>10} {[secret]} %s" % secret, pformat(secret), pretty_repr({"a": secret})]
    assert _PASSWORD not in " ".join(shown)
    assert not isinstance(secret, str)
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    assert {secret: 1}[Secret(_PASSWORD)] == 1
    assert secret != _PASSWORD


@pytest.mark.parametrize("encode", [pickle.dumps, json.dumps, msgspec.json.encode, msgspec.to_builtins, "".join])
def test_a_secret_is_not_encoded_and_not_pickled(encode: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        encode([Secret(_PASSWORD)])


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A configuration with passwords in clear."""
    file = tmp_path / "exlab-store.toml"
    file.write_text(
        "[stores.a]\nurl = 'smb://lab:hunter2@nas01/lab'\n"
        "[stores.b]\nurl = 'smb://nas01/lab'\nusername = 'lab'\npassword = 'hunter2'\noptions = { token = 'hunter2' }\n"
    )
    return file


def test_a_configuration_shows_no_password(configured: Path) -> None:
    configuration = Configuration.read(configured)
    shown = f"{configuration} {pformat(configuration)} {pretty_repr(configuration)}"
    assert _PASSWORD not in shown
    assert [configuration.entry(name).location().password for name in "ab"] == [_PASSWORD, _PASSWORD]


@pytest.mark.parametrize("encode", [pickle.dumps, msgspec.json.encode])
@pytest.mark.parametrize("name", ["a", "b"])
def test_an_entry_with_a_password_in_clear_is_not_encoded(
    name: str, encode: Callable[[Any], object], configured: Path
) -> None:
    with pytest.raises(TypeError):
        encode(Configuration.read(configured).entry(name))


@pytest.mark.parametrize(
    "content",
    [
        "[stores.nas]\nurl = 'smb://nas01/lab'\npassword = 'hunter2'\n".encode("utf-16"),
        b"[stores.nas]\nurl = 'smb://nas01/lab'\npassword = 'hunter2'\nusername = '\xff'\n",
        b"[stores.nas]\nurl = 'smb://nas01/lab'\npassword = 'hunter2\n",
        b"[stores.nas]\nurl = 'smb://nas01/lab'\npasword = 'hunter2'\n",
        b"[stores.nas]\nurl = 'smb://nas01/lab'\nobservers = 'hunter2'\n",
        b"[stores.nas]\nurl = 'smb://nas01/lab'\noptions = { password = 'hunter2' }\n",
        b"[stores.nas]\nurl = 'smb://lab:hunter2@nas01/lab'\npassword = 'hunter2'\n",
        b"[stores.nas]\nurl = 'smb://nas01/lab'\npassword = ['hunter2']\n",
        b"[stores.nas]\nurl = 'smb://nas01/lab'\npassword = { key = 'hunter2' }\n",
        b"store = 'hunter2'\n",
        b"[stores.nas]\nurl = 'smb://nas01/lab'\npassword = 'hunter2'\noptions = { n = " + b"9" * 5000 + b" }\n",
        b"[stores.nas]\nurl = 'smb://nas01/lab'\npassword = 'hunter2'\noptions = { n = " + b"[" * 5000,
    ],
)
def test_an_error_about_a_configuration_keeps_nothing_that_stands_in_it(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "exlab-store.toml"
    file.write_bytes(content)
    everything = _everything_of(_failure_of(lambda: open_store("@nas", config=file)))
    assert _PASSWORD not in everything
    assert "hunter2".encode("utf-16-le").decode("latin-1") not in everything
    assert r"h\x00u\x00n" not in everything


@pytest.mark.parametrize("content", ["hunter2\nhunter2", "hunter2\0", "hunter2" * 1000])
def test_an_error_about_the_file_of_a_password_keeps_nothing_of_it(content: str, tmp_path: Path) -> None:
    (tmp_path / "nas").write_text(content)
    file = tmp_path / "exlab-store.toml"
    file.write_text("[stores.nas]\nurl = 'smb://nas01/lab'\npassword = { file = 'nas' }\n")
    assert _PASSWORD not in _everything_of(_failure_of(lambda: open_store("@nas", config=file)))


@pytest.mark.parametrize(
    "options",
    [{"pasword": _PASSWORD}, {"password": _PASSWORD, "port": "x"}, {"password": _PASSWORD, "mode": 0o600}]
    + [{"password": _PASSWORD, "observers": ["absent"]}, {"password": _PASSWORD, "ignore": "x"}],
)
def test_an_error_about_an_option_shows_no_password(options: dict[str, Any]) -> None:
    pytest.importorskip("smbprotocol", reason="install exlab-store[smb] to open a share")
    assert _PASSWORD not in _everything_of(_failure_of(lambda: open_store("smb://lab@nas01.invalid/lab", **options)))


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("smb://lab:hunter2@nas01.invalid/lab", {}),
        ("smb://lab@nas01.invalid/lab", {"password": _PASSWORD}),
        ("smb://lab:hunter2@127.0.0.1:9/lab", {"connect_timeout": 1.0}),
    ],
)
def test_an_unknown_host_shows_no_password(url: str, options: dict[str, Any]) -> None:
    pytest.importorskip("smbprotocol", reason="install exlab-store[smb] to open a share")
    error = _failure_of(lambda: open_store(url, retry=None, **options))
    assert _PASSWORD not in _everything_of(error)


def test_a_password_of_fsspecs_configuration_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("smbprotocol", reason="install exlab-store[smb] to open a share")
    fsspec = pytest.importorskip("fsspec", reason="install exlab-store[smb] to open a share")
    monkeypatch.setitem(fsspec.config.conf, "smb", {"password": _PASSWORD})
    assert _PASSWORD not in _everything_of(_failure_of(lambda: open_store("smb://lab@nas01.invalid/lab", port="x")))


@pytest.mark.one_interpreter
@pytest.mark.parametrize("given", ["url", "option"])
def test_a_wrong_password_is_not_shown(given: str, samba: SambaServer) -> None:
    options: dict[str, Any] = {"password": _PASSWORD} if given == "option" else {}
    url = samba.url(password=_PASSWORD) if given == "url" else samba.url()
    error = _failure_of(lambda: open_store(url, retry=None, **options))
    assert "its password" in str(error)
    assert _PASSWORD not in _everything_of(error)


class _Telling:
    """A plugin whose errors tell the password."""

    def __init__(self, location: Location, options: Any) -> None:
        raise RuntimeError(f"login failed for {location.password} {options}")


@pytest.mark.parametrize(("url", "options"), [("telling://u:hunter2@h", {}), ("telling://h", {"password": _PASSWORD})])
def test_an_error_of_a_plugin_that_tells_the_password_is_not_kept(
    url: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from exlab_store.opening import registry

    monkeypatch.setitem(registry._openers, "telling", _Telling)  # pyright: ignore[reportPrivateUsage]
    error = _failure_of(lambda: open_store(url, **options))
    assert isinstance(error, PluginError)
    assert (error.__cause__, error.__context__) == (None, None)
    assert _PASSWORD not in _everything_of(error)


def test_the_variables_of_a_program_that_was_handling_an_error_stay() -> None:
    def fail() -> None:
        of_the_program = 4711
        raise ValueError(of_the_program)

    try:
        fail()
    except ValueError as handled:
        with pytest.raises(StoreError):
            open_store("nosuchscheme://name")
        step = handled.__traceback__
        assert step is not None
        assert step.tb_next is not None
        assert step.tb_next.tb_frame.f_locals == {"of_the_program": 4711}
