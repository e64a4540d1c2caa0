"""`exlab-store watch`: a line for each change, until it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

from command_line import COMMAND, done, environment, refused

from exlab_store import open_store, version_of

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 60.0


def test_each_change_is_a_line_until_ctrl_c_ends_it(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.atomic_write("first", b"1")
        watching = subprocess.Popen(
            [*COMMAND, "watch", str(tmp_path), "--existing"], stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert watching.stdout is not None
        try:
            assert watching.stdout.readline() == "written first\n"
            store.atomic_write("a/b.json", b"1")
            assert watching.stdout.readline() == "written a/b.json\n"
            store.delete("first")
            assert watching.stdout.readline() == "deleted first\n"
            watching.send_signal(signal.SIGINT)
            assert watching.wait(PATIENCE) == 130
        finally:
            watching.kill()
            watching.wait()
            watching.stdout.close()


def test_with_json_each_change_is_a_line_of_json(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for key in ("a.json", "b.txt"):
            store.atomic_write(key, b"1")
    lines = done("watch", tmp_path, "--existing", "--timeout", "0", "--json", "--pattern", "*.json").splitlines()
    assert [json.loads(line) for line in lines] == [{"key": "a.json", "kind": "written", "version": version_of(b"1")}]


def test_without_changes_nothing_is_printed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"1")
    assert done("watch", tmp_path, "--timeout", "0") == ""


def test_a_place_that_is_missing_is_named(tmp_path: Path) -> None:
    assert "there is no such directory" in refused(2, "watch", tmp_path / "missing")
