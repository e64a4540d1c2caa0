"""``exlab-store bench``: it measures, leaves nothing behind, and says what it has measured."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import COMMAND, done, done_json, environment, refused

from exlab_store import StorageFull, Store, StoreError
from exlab_store.benching import measure
from exlab_store.benching.figures import shown
from exlab_store.cli.bench import run_bench

if TYPE_CHECKING:
    from collections.abc import Callable

    from samba_server import SambaServer

BRIEFLY = ("--seconds", "0.01")


def _operations(answer: dict[str, Any]) -> list[tuple[str, int]]:
    return [(operation["name"], operation["size"]) for operation in answer["operations"]]


EVERYTHING = [("write", 2048), ("write", 65536), ("write", 1048576), ("read", 2048), ("lock", 0), ("update", 2048)]


@pytest.mark.one_interpreter
def test_a_directory_is_measured_beside_the_bare_system_calls_and_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "2048.json").write_bytes(b"somebody's")
    answer = done_json("bench", tmp_path, *BRIEFLY)
    assert _operations(answer) == EVERYTHING
    for operation in answer["operations"]:
        for timing in (operation["store"], operation["bare"]):
            assert timing["count"] >= 3
            assert 0 < timing["median"] <= timing["p99"]
            assert timing["per_second"] > 0
        assert operation["ratio"] == pytest.approx(operation["store"]["median"] / operation["bare"]["median"])
    assert [(each["number"], each["of"]) for each in answer["contentions"]] == [(n, "process") for n in (1, 4, 8)]
    for contention in answer["contentions"]:
        for crowd in (contention["store"], contention["bare"]):
            assert 0 < crowd["median"] <= crowd["p99"] <= crowd["longest"]
            assert 1 / contention["number"] <= crowd["fairness"] <= 1
    assert answer["location"] == f"file://{tmp_path}"
    assert answer["remains"] is None
    assert answer["processors"] >= 1
    assert os.listdir(tmp_path) == ["2048.json"]
    assert (tmp_path / "2048.json").read_bytes() == b"somebody's"


def test_in_memory_threads_want_the_lock_and_nothing_survives_a_power_cut() -> None:
    said = done("bench", "memory://", *BRIEFLY)
    assert re.search(r"8 threads +\d", said)
    assert "need not survive a power cut" in said
    assert "bare" not in said.lower()
    assert "Per second: how many, one after the other; more is better.\n" in said
    assert "Fair: 1 if all had the lock equally often, 1/8 if one of eight had it alone.\n" in said
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.one_interpreter
def test_a_store_of_the_configuration_is_measured_in_a_folder_of_it(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    configuration = tmp_path / "exlab-store.toml"
    configuration.write_text(f'[stores.lab]\nurl = "file://{tmp_path}/lab"\n')
    (tmp_path / "lab" / "CONFOCAL_01").mkdir()
    answer = done_json("bench", "@lab/CONFOCAL_01", *BRIEFLY, EXLAB_STORE_CONFIG=str(configuration))
    assert answer["location"] == f"file://{tmp_path}/lab/CONFOCAL_01"
    assert [contention["number"] for contention in answer["contentions"]] == [1, 4, 8]
    assert os.listdir(tmp_path / "lab" / "CONFOCAL_01") == []


def test_a_place_that_is_not_there_is_wrong_usage_and_so_is_a_time_that_is_none(tmp_path: Path) -> None:
    assert "there is no such directory" in refused(2, "bench", tmp_path / "missing")
    assert "--seconds" in refused(2, "bench", tmp_path, "--seconds", "0")
    assert json.loads(refused(2, "bench", tmp_path / "missing", "--json"))["error"]["code"] == "invalid_location"


def test_a_place_that_is_full_says_so_and_the_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Store.atomic_write

    def until_full(store: Store, key: str, data: bytes, **options: Any) -> Any:
        if len(data) > 1 << 16:
            raise StorageFull("there is no room")
        return write(store, key, data, **options)

    monkeypatch.setattr(Store, "atomic_write", until_full)
    with pytest.raises(StorageFull):
        measure(str(tmp_path), seconds=0.01)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals end no process in order there")
@pytest.mark.parametrize(
    ("number", "times"), [(signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGINT, 2)], ids=["term", "int", "int-int"]
)
def test_whoever_ends_it_finds_no_folder_and_no_process_left(
    tmp_path: Path, number: signal.Signals, times: int
) -> None:
    with subprocess.Popen(
        [*COMMAND, "bench", str(tmp_path), "--seconds", "30"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        deadline = time.monotonic() + 30
        while not os.listdir(tmp_path):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(times):
            process.send_signal(number)
            time.sleep(0.005)  # so that the next one comes while the folder is being removed, or soon before or after
        _, said = process.communicate(timeout=30)
    assert process.returncode in {128 + number, -number}  # a shell says the same of both
    assert said == b""
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("as_json", [False, True])
def test_what_stays_is_said_where_there_are_no_figures(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: str, *, left: Callable[[str], None], **__: object) -> None:
        left("the folder file:///lab/exlab-store-bench-0 stays, as its removal was interrupted")
        raise KeyboardInterrupt

    monkeypatch.setattr("exlab_store.cli.bench.measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_bench("/lab", seconds=1, as_json=as_json)
    out, said = capsys.readouterr()
    assert out == ""
    if as_json:
        assert json.loads(said)["remains"].startswith("the folder file:///lab/exlab-store-bench-0 stays")
    else:
        assert said.startswith("Attention: the folder file:///lab/exlab-store-bench-0 stays")
        assert said.endswith("Nobody needs it any more: remove it.\n")


def test_a_contender_that_cannot_open_the_store_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exlab_store.clients.process._PROGRAM", "raise SystemExit(3)")
    with pytest.raises(StoreError, match="has died"):
        measure(str(tmp_path), seconds=0.01)
    assert os.listdir(tmp_path) == []


def _in_terminal(columns: int, *arguments: str) -> tuple[str, list[str]]:
    """What a terminal of so many columns shows: all of it, and its lines at the end, without the bar's."""
    pexpect = pytest.importorskip("pexpect", reason="install pexpect to run the command in a terminal")
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "bench", *arguments],
        dimensions=(40, columns),
        encoding="utf-8",
        timeout=60,
        env=environment(),
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    said = child.before
    return said, re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said))


_FIGURE = r"[0-9][0-9.,]*(?: (?:us|ms|s))?"


@pytest.mark.one_interpreter
@pytest.mark.parametrize(("columns", "of_an_operation", "of_a_crowd"), [(80, 5, 7), (60, 4, 5)])
def test_on_a_terminal_it_shows_its_progress_and_no_figure_is_cut(
    tmp_path: Path, columns: int, of_an_operation: int, of_a_crowd: int
) -> None:
    said, lines = _in_terminal(columns, str(tmp_path), "--seconds", "0.15")
    assert "8 at once" in said
    assert not any("…" in line for line in lines)
    assert max(map(len, lines)) <= columns
    (write,) = [line for line in lines if line.lstrip().startswith("write, 1 MiB")]
    assert len(re.findall(_FIGURE, write.partition("MiB")[2])) == of_an_operation
    (crowd,) = [line for line in lines if line.lstrip().startswith("8 processes")]
    assert len(re.findall(_FIGURE, crowd.partition("processes")[2])) == of_a_crowd
    assert any(line.startswith("No room here for: Per second") for line in lines) == (columns < 80)


@pytest.mark.one_interpreter
def test_each_table_says_what_its_last_column_is_and_which_direction_is_good(tmp_path: Path) -> None:
    said = done("bench", tmp_path, *BRIEFLY)
    assert said.splitlines()[0] == f"file://{tmp_path}"
    assert "Times as long: as Bare, by the medians. 1 is as fast; less is better.\n" in said
    assert "Times as often: as Bare. 1 is as often; more is better.\n" in said
    assert "Bare: by hand: a durable write, open().read(), a flock that notes no holder.\n" in said


def test_times_have_the_unit_that_suits_them() -> None:
    assert [shown(seconds) for seconds in (6.2e-6, 505e-6, 2.26e-3, 0.302, 1.75)] == [
        "6.2 us",
        "505 us",
        "2.3 ms",
        "302 ms",
        "1.75 s",
    ]


@pytest.mark.one_interpreter
def test_a_share_is_measured_and_the_folder_with_its_lock_files_is_removed(samba: SambaServer) -> None:
    before = sorted(os.listdir(samba.root))
    answer = done_json("bench", samba.url(), *BRIEFLY, FSSPEC_SMB_PASSWORD=samba.password)
    assert _operations(answer) == EVERYTHING
    assert {operation["bare"] for operation in answer["operations"]} == {None}
    assert [contention["of"] for contention in answer["contentions"]] == ["process"] * 3
    assert answer["remains"] is None
    assert sorted(os.listdir(samba.root)) == before
    assert samba.password not in json.dumps(answer)


@pytest.mark.one_interpreter
def test_the_page_about_it_says_what_each_field_is(tmp_path: Path) -> None:
    said = done("bench", tmp_path, *BRIEFLY, "--json")
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "measure-a-place.md").read_text(encoding="utf-8")
    table = "".join(re.findall(r"^\| `.*\|$", page, re.MULTILINE))
    fields = set(re.findall(r'"(\w+)":', said))
    assert {"location", "ratio", "p99", "fairness"} <= fields
    assert [field for field in sorted(fields) if f"`{field}`" not in table] == []
