"""A plugin that calls `sys.exit` is a broken plugin, and ends nobody's program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from exlab_store import Location, PluginError, installed_backends, open_store
from exlab_store.doctor.bypass import find_bypass

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

WHEN_IMPORTED = "import sys; sys.exit(7)"
WHEN_CALLED = "import sys\ndef begin(*_): sys.exit(7)"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A folder on the path, where a distribution offers a backend, a bypass and an observer."""
    found = tmp_path / "site"
    folder = found / "leaving-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: leaving\nVersion: 1.0\n")
    groups = ("backends", "bypasses", "observers")
    # A scheme for each test, as what was opened once is remembered.
    lines = [f"[exlab_store.{group}]\n{scheme_of(request)} = leaving:begin\n" for group in groups]
    (folder / "entry_points.txt").write_text("".join(lines))
    monkeypatch.syspath_prepend(str(found))
    monkeypatch.delitem(sys.modules, "leaving", raising=False)
    return found


def scheme_of(request: pytest.FixtureRequest) -> str:
    return f"leaving{abs(hash(request.node.name))}"


@pytest.fixture
def scheme(request: pytest.FixtureRequest) -> str:
    return scheme_of(request)


def install(site: Path, text: str) -> None:
    (site / "leaving.py").write_text(text)


def test_a_backend_that_exits_when_it_is_imported_is_listed_with_its_cause(site: Path, scheme: str) -> None:
    install(site, WHEN_IMPORTED)
    (listed,) = [backend for backend in installed_backends() if backend.scheme == scheme]
    assert "cannot be imported: SystemExit: 7" in (listed.fault or "")


@pytest.mark.parametrize("text", [WHEN_IMPORTED, WHEN_CALLED])
def test_a_backend_that_exits_cannot_be_opened(site: Path, scheme: str, text: str) -> None:
    install(site, text)
    with pytest.raises(PluginError, match="SystemExit"):
        open_store(f"{scheme}://box")


@pytest.mark.parametrize("text", [WHEN_IMPORTED, WHEN_CALLED])
def test_an_observer_that_exits_cannot_be_used(site: Path, scheme: str, text: str) -> None:
    install(site, text)
    with pytest.raises(PluginError, match="cannot be used: SystemExit: 7"):
        open_store("memory://", observers=[scheme])


@pytest.mark.parametrize("text", [WHEN_IMPORTED, WHEN_CALLED])
def test_another_way_to_the_files_that_exits_is_none(site: Path, scheme: str, text: str) -> None:
    install(site, text)
    assert find_bypass(Location.parse(f"{scheme}://box/lab"), {}, "folder") == "it cannot be opened (SystemExit)"


def test_the_command_lists_the_others(site: Path) -> None:
    install(site, WHEN_IMPORTED)
    command = [sys.executable, "-m", "exlab_store.cli", "plugins", "--json"]
    result = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0
    assert "SystemExit: 7" in result.stdout
    assert '"file"' in result.stdout


@pytest.mark.parametrize("where", ["import", "call"])
def test_the_program_s_own_end_is_no_fault_of_a_plugin(
    site: Path, scheme: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(3)

    strike = "import os, signal\nos.kill(os.getpid(), signal.SIGUSR1)\n"
    install(site, strike if where == "import" else f"def begin(*_):\n exec({strike!r})\n")
    before = signal.signal(signal.SIGUSR1, end)
    try:
        for use in (
            lambda: open_store(f"{scheme}://box"),
            lambda: open_store("memory://", observers=[scheme]),
            lambda: find_bypass(Location.parse(f"{scheme}://box/lab"), {}, "folder"),
        ):
            with pytest.raises(SystemExit) as ended:
                use()
            assert ended.value.code == 3
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_ctrl_c_while_a_plugin_is_imported_is_passed_on(site: Path, scheme: str) -> None:
    install(site, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        installed_backends()
