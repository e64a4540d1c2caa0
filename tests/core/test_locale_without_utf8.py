"""A process whose locale is not UTF-8: names of ASCII work, others are refused and never stored as something else."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from exlab_store import open_store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of files are not bytes on other systems")

NO_UTF8 = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
KEY = "B\\xfcro/equipment.json"  # as an escape, as the program's text is ASCII

PROGRAM = """
import sys
from exlab_store import StoreError, open_store
store = open_store(sys.argv[1])
try:
    print(ascii(eval(sys.argv[2])))
except StoreError as error:
    print(type(error).__name__, ascii(str(error)))
"""


def said(place: Path, expression: str) -> str:
    command = [sys.executable, "-c", PROGRAM, str(place), expression]
    done = subprocess.run(command, env=NO_UTF8, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("store.update('a/b.json', lambda stored: b'2') and store.read_snapshot('a/b.json').data", "b'2'"),
        ("store.atomic_write('a.json', b'1') and store.list_keys()", "['a.json']"),
        ("[each.name for each in store.list_leftovers()]", "[]"),
    ],
)
def test_names_of_ascii_work(tmp_path: Path, expression: str, result: str) -> None:
    assert said(tmp_path, expression) == result


@pytest.mark.parametrize(
    "expression",
    [
        f"store.read_snapshot('{KEY}')",
        f"store.atomic_write('{KEY}', b'1')",
        f"store.update('{KEY}', lambda stored: b'1')",
        f"store.lock('{KEY}').release()",
        f"store.delete('{KEY}')",
    ],
)
def test_other_names_are_refused_with_what_to_set(tmp_path: Path, expression: str) -> None:
    answer = said(tmp_path, expression)
    assert answer.startswith("NotSupported")
    assert "PYTHONUTF8=1" in answer
    assert list(tmp_path.iterdir()) == []


def test_a_list_is_not_silently_without_the_documents_whose_names_are_not_ascii(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.atomic_write("Büro/equipment.json", b"1")
    assert said(tmp_path, "store.list_keys()").startswith("NotSupported")


@pytest.mark.parametrize("command", ["plugins", "--help", "ls", "locks", "get"])
def test_the_command_prints_what_it_has_to_say(tmp_path: Path, command: str) -> None:
    (tmp_path / "a.json").write_text("Müller", encoding="utf-8")
    with open_store(tmp_path) as store:
        store.lock("a.json", purpose="µ-scan").release()
    given = {"ls": [str(tmp_path)], "locks": [str(tmp_path)], "get": [str(tmp_path / "a.json")]}.get(command, [])
    arguments = [sys.executable, "-m", "exlab_store.cli", command, *given]
    done = subprocess.run(arguments, env=NO_UTF8, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout
