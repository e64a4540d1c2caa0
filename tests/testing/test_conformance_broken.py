"""The kit rejects every broken backend, each by the test that is there for it, and accepts the sound one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_interpreter

_TESTS = Path(__file__).parents[1]
_BROKEN = _TESTS / "testing" / "broken"
_OUTCOME = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED) \S+::(Test\w+)::(\w+)", re.MULTILINE)

sys.path.insert(0, str(_BROKEN))
try:
    from every_broken_backend import CAUGHT_BY
    from hanging_backends import HUNG_IN, PATIENCE, hanging_class_name
finally:
    sys.path.remove(str(_BROKEN))


def _class_name(flaw: str) -> str:
    return "Test" + flaw.title().replace("-", "")


def _run(nodes: list[str], directory: Path, patience: str = "0.5") -> tuple[dict[tuple[str, str], set[str]], str]:
    """The outcomes of tests of the kit, by class and test, in a process whose entry points include the broken ones."""
    path = os.pathsep.join([str(_BROKEN), str(_TESTS)])
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=short", "-p", "no:cacheprovider"]
        + ["--rootdir", str(_BROKEN), "--basetemp", str(directory / "kit"), "-c", os.devnull, *nodes],
        cwd=_BROKEN,
        env={**os.environ, "PYTHONPATH": path, PATIENCE: patience, "COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    outcomes: dict[tuple[str, str], set[str]] = {}
    for outcome, cls, test in _OUTCOME.findall(finished.stdout):
        outcomes.setdefault((cls, test), set()).add(outcome)
    return outcomes, finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[tuple[str, str], set[str]], str]:
    # Three at a time: most tests of a flaw wait in vain, for something that a broken backend does not do.
    nodes = [f"kit_over_broken.py::{_class_name(flaw)}::{test}" for flaw, test in CAUGHT_BY.items()]
    with ThreadPoolExecutor(3) as processes:
        parts = processes.map(_run, [nodes[first::3] for first in range(3)], map(tmp_path_factory.mktemp, "abc"))
        found = list(parts)
    outcomes = {node: outcome for part, _ in found for node, outcome in part.items()}
    return outcomes, "".join(output for _, output in found)


@pytest.mark.parametrize("flaw", CAUGHT_BY)
def test_the_kit_rejects_a_backend_by_the_test_for_its_flaw(
    flaw: str, verdicts: tuple[dict[tuple[str, str], set[str]], str]
) -> None:
    outcomes, output = verdicts
    assert "FAILED" in outcomes.get((_class_name(flaw), CAUGHT_BY[flaw]), set()), output[-20_000:]


def test_the_kit_accepts_the_sound_backend_that_the_broken_ones_are_made_from(tmp_path: Path) -> None:
    outcomes, output = _run(["kit_over_broken.py::TestSound"], tmp_path)
    assert set(CAUGHT_BY.values()) <= {test for _, test in outcomes}, output[-20_000:]
    assert set().union(*outcomes.values()) <= {"PASSED", "SKIPPED"}, output[-20_000:]


@pytest.fixture(scope="module")
def hangs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of one test of the kit for each call that hangs."""
    # Two seconds, as a call that does not hang has no more than them either. Another process costs 4 s of a core.
    nodes = [f"hanging_backends.py::{hanging_class_name(call)}::{test}" for call, test in HUNG_IN.items()]
    with ThreadPoolExecutor(3) as processes:
        over = partial(_run, patience="2")
        parts = processes.map(over, [nodes[first::3] for first in range(3)], map(tmp_path_factory.mktemp, "def"))
        return "".join(output for _, output in parts)


@pytest.mark.parametrize("call", HUNG_IN)
def test_a_test_of_the_kit_over_a_backend_that_hangs_fails_and_names_the_call(call: str, hangs: str) -> None:
    node = f"{hanging_class_name(call)}::{HUNG_IN[call]}"
    said = re.compile(rf"^(FAILED|ERROR) \S+::{node} .*Hangs: {call}\b.* has not returned after [2-9]", re.MULTILINE)
    assert said.search(hangs), hangs[-20_000:]


@pytest.mark.slow
@pytest.mark.parametrize("call", HUNG_IN)
def test_the_kit_ends_over_a_backend_that_hangs_and_names_the_call(call: str, tmp_path: Path) -> None:
    outcomes, output = _run([f"hanging_backends.py::{hanging_class_name(call)}"], tmp_path)
    assert any("FAILED" in found or "ERROR" in found for found in outcomes.values()), output[-20_000:]
    hang = re.search(rf"Hangs: {call}\b.* has not returned after 0\.5 s", output)
    assert hang or f"in {call}\n" in output, output[-20_000:]
