"""Where something has to be installed, one module decides what to say: pip is no help in a frozen application."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from exlab_store import ConfigError, StoreError, UnknownScheme, open_store
from exlab_store.documents.codecs import codec_of
from exlab_store.installing import how_to_install
from exlab_store.opening.secrets import SecretSource

ROOT = Path(__file__).parents[2]


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    for module in ("opentelemetry", "ruamel.yaml", "tomlkit", "keyring", "webdav4", "webdav4.fsspec", "smbprotocol"):
        monkeypatch.setitem(sys.modules, module, None)
    for module in ("yaml_text", "toml_text"):
        monkeypatch.delitem(sys.modules, f"exlab_store.documents.{module}", raising=False)


def test_no_other_module_of_the_package_sends_to_pip() -> None:
    modules = [*ROOT.glob("exlab_store/**/*.py"), *ROOT.glob("plugins/**/*.py")]
    sending = [path.name for path in modules if "pip install " in path.read_text(encoding="utf-8")]
    assert sending == ["installing.py"]


def test_outside_a_frozen_application_pip_s_command_is_one_that_a_shell_takes() -> None:
    assert how_to_install("exlab-store[smb]") == "pip install 'exlab-store[smb]'"
    assert how_to_install("webdav4") == "pip install webdav4"


@pytest.mark.usefixtures("frozen")
def test_a_frozen_application_is_told_what_to_build_it_with() -> None:
    for missing, fails in {
        "exlab-store[otel]": lambda: open_store("memory://", observers=["otel"]),
        "exlab-store[yaml]": lambda: codec_of("yaml"),
        "exlab-store[toml]": lambda: codec_of("toml"),
        "exlab-store[keyring]": lambda: SecretSource(keyring="lab").fetch("nas"),
        "webdav4": lambda: open_store("fsspec+webdav://localhost/lab"),
    }.items():
        with pytest.raises((ConfigError, UnknownScheme)) as caught:
            fails()
        assert f"the modules of {missing}" in (caught.value.hint or "")
        assert "pip" not in str(caught.value)


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(("location", "says"), [("nfs://nas01/lab", "Mount it"), ("sbm://nas01/lab", "Is it smb")])
def test_what_has_nothing_to_do_with_building_is_said_in_a_frozen_application_too(location: str, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        open_store(location)


@pytest.mark.usefixtures("frozen")
def test_an_observer_that_is_not_in_a_frozen_application_is_to_be_built_into_it() -> None:
    with pytest.raises(ConfigError, match=r"no installed observer .* This application is frozen"):
        open_store("memory://", observers=["nosy"])
