"""Checks everything, on a machine that has nothing but Python 3.11 or newer: ``python3 tests/run.py``.

It makes a virtual environment of its own (``.test-venv``), installs the package and its tools, and runs the linter,
the type checkers, the import contracts, the documentation build, the tests, and a wheel that is installed into a
clean environment and has to run its demonstration. Further interpreters (3.11 to 3.14) that it finds run the tests
too, but for those that are about a server, a disk, a page or the kit rather than Python. ``--only STEP`` runs one step;
words after ``--`` go to pytest, which then runs once, on this interpreter.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036  # this script is what says so
    sys.exit("exlab-store needs Python 3.11 or newer: run this script with it, as in: python3.12 tests/run.py")

import tomllib

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".test-venv"
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
ALL_BUT_SLOW = ("-m", "not slow")
OF_ONE_INTERPRETER = ("-m", "one_interpreter and not slow")
NO_TESTS = 5  # what pytest returns where a folder has none of that mark
AT_A_TIME = 3  # on two processors: many tests wait for a server or a disk


class Failed(Exception):
    """A step that did not succeed."""


def call(*command: str | Path, cwd: Path = ROOT) -> None:
    """Runs a program and shows what it prints."""
    if subprocess.run([str(word) for word in command], cwd=cwd, check=False).returncode:
        raise Failed(" ".join(Path(word).name if Path(word).is_absolute() else str(word) for word in command))


def scripts(environment: Path) -> Path:
    """Where an environment keeps its programs."""
    return environment / ("Scripts" if os.name == "nt" else "bin")


def tools() -> list[str]:
    """What the development needs beside the package's own extras."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    return list(groups["dev"])


def environment(path: Path, interpreter: str = sys.executable) -> Path:
    """An environment with the package, as editable, and all tools; made or brought up to date."""
    if not (scripts(path) / "python").exists():
        if interpreter == sys.executable:
            venv.create(path, with_pip=True, clear=True)
        else:
            call(interpreter, "-m", "venv", "--clear", path)
    # The bindings for Kerberos are compiled for minutes, and what they do does not depend on Python: once.
    extras = "all,kerberos" if path == ENVIRONMENT and all(map(shutil.which, ("krb5-config", "gcc"))) else "all"
    call(scripts(path) / "python", "-m", "pip", "install", "--quiet", "--editable", f"{ROOT}[{extras}]", *tools())
    return scripts(path)


def lint(bin_: Path) -> None:
    """Style and formatting."""
    call(bin_ / "ruff", "check", ".")
    call(bin_ / "ruff", "format", "--check", ".")


def types(bin_: Path) -> None:
    """mypy in strict mode, for the other systems too, and pyright."""
    call(bin_ / "mypy")
    call(bin_ / "mypy", "--platform", "darwin")
    call(bin_ / "mypy", "--platform", "win32", "--exclude", "exlab_store/testing/crash/")  # which is for Linux
    call(bin_ / "pyright", "--pythonpath", bin_ / "python")


def contracts(bin_: Path) -> None:
    """The arrows between the modules."""
    call(bin_ / "lint-imports")


def docs(bin_: Path) -> None:
    """The documentation, with warnings as errors."""
    call(bin_ / "sphinx-build", "-W", "--keep-going", "-q", "-E", "-b", "html", "docs", "docs/_build/html")


def tests(bin_: Path, *options: str) -> None:
    """The tests; with EXLAB_STORE_REQUIRE_ALL=1 a test may not skip for want of a program or a right."""
    call(bin_ / "python", "-m", "pytest", *options)


def tests_on_all(bin_: Path, interpreters: list[str]) -> None:
    """All tests that are not slow, by three processes at a time.

    Each interpreter runs the tests that do not need one alone; those run on this one, folder by folder. The process
    that is free takes what is next, so all end at about the same time. The output of each part comes as it ends, and a
    line as it begins.
    """
    with (
        tempfile.TemporaryDirectory(prefix="exlab-store-tests-") as directory,
        ThreadPoolExecutor(AT_A_TIME) as processes,
    ):
        parts = {processes.submit(_tests_of, bin_): sys.executable}
        for number, interpreter in enumerate(interpreters):
            parts[processes.submit(_tests_on, interpreter, Path(directory, str(number)))] = interpreter
        folders = folders_of_tests()
        for folder in folders:
            parts[processes.submit(_tests_of, bin_, *OF_ONE_INTERPRETER, folder)] = folder
        failed: list[str] = []
        for part in as_completed(parts):
            code, output = part.result()
            print(f"\n--- {parts[part]}\n{output}", flush=True)
            if code and not (code == NO_TESTS and parts[part] in folders):
                failed.append(parts[part])
    if failed:
        raise Failed(f"pytest: {', '.join(failed)}")


def folders_of_tests() -> list[str]:
    """The folders below tests/, those with the most modules first: what is short fills the gap at the end."""
    modules = Counter(path.parent for path in (ROOT / "tests").glob("*/test_*.py"))
    return [str(folder.relative_to(ROOT)) for folder, _ in modules.most_common()]


def _tests_of(scripts_: Path, *options: str) -> tuple[int, str]:
    """What pytest returns, and what it prints: to a file, as a process that a test leaves would keep a pipe open."""
    print(" ".join(["begun:", str(scripts_ / "python"), "-m", "pytest", *options]), flush=True)
    with tempfile.TemporaryFile() as output:
        command = [str(scripts_ / "python"), "-m", "pytest", *options]
        code = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=False).returncode
        output.seek(0)
        return code, output.read().decode(errors="replace")


def _tests_on(interpreter: str, directory: Path) -> tuple[int, str]:
    try:
        return _tests_of(environment(directory, interpreter))
    except Failed as failure:
        return 1, str(failure)


def benchmarks(bin_: Path) -> None:
    """What the layers cost over the bare system calls; shown, not judged: a busy machine proves nothing."""
    call(bin_ / "python", "tests/benchmarks/run.py")


def wheel(bin_: Path) -> None:
    """The wheel, installed into a clean environment, runs the demonstration."""
    with tempfile.TemporaryDirectory(prefix="exlab-store-wheel-") as directory:
        place = Path(directory)
        call(bin_ / "python", "-m", "build", "--wheel", "--outdir", place, ROOT)
        (built,) = place.glob("*.whl")
        clean = place / "clean"
        venv.create(clean, with_pip=True)
        call(scripts(clean) / "python", "-m", "pip", "install", "--quiet", f"{built}[cli]")
        call(scripts(clean) / "exlab-store", "plugins", cwd=place)
        call(scripts(clean) / "exlab-store", "demo", cwd=place)


STEPS = {
    "lint": lint,
    "types": types,
    "contracts": contracts,
    "docs": docs,
    "tests": tests,
    "benchmarks": benchmarks,
    "wheel": wheel,
}


def other_interpreters() -> list[str]:
    """One interpreter for each supported version that is installed, other than the running one."""
    found: list[str] = []
    for version in SUPPORTED:
        if version == f"{sys.version_info.major}.{sys.version_info.minor}":
            continue
        pyenv = sorted(
            Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python")
        )
        candidates = [str(path) for path in reversed(pyenv)]
        candidates += [path] if (path := shutil.which(f"python{version}")) else []
        usable = [path for path in candidates if _answers(path, version)]
        found += usable[:1]
    return found


def _answers(interpreter: str, version: str) -> bool:
    program = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    result = subprocess.run([interpreter, "-c", program], capture_output=True, text=True, check=False)
    return result.stdout.strip() == version


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=STEPS, help="run one step")
    parser.add_argument("pytest", nargs="*", help="options for pytest")
    arguments = parser.parse_args()
    results: list[tuple[str, float, str]] = []

    def step(name: str, *work: object) -> None:
        print(f"\n=== {name}", flush=True)
        began = time.monotonic()
        outcome = "passed"
        try:
            function, *words = work
            function(*words)  # type: ignore[operator]
        except Failed as failure:
            outcome = f"FAILED: {failure}"
        results.append((name, time.monotonic() - began, outcome))

    # Tests start Python many times. A process that may not keep what it compiles compiles the package again: 0.15 s.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    bin_ = scripts(ENVIRONMENT)
    step("environment", environment, ENVIRONMENT)
    if results[-1][2] == "passed":
        for name, function in STEPS.items():
            if name == "tests" and not arguments.only and not arguments.pytest:
                step("tests on all interpreters", tests_on_all, bin_, other_interpreters())
            elif arguments.only in (None, name):
                step(name, function, bin_, *((*ALL_BUT_SLOW, *arguments.pytest) if name == "tests" else ()))
    print()
    for name, seconds, outcome in results:
        print(f"{name:28} {seconds:6.1f} s  {outcome}")
    return int(any(outcome != "passed" for _, _, outcome in results))


if __name__ == "__main__":
    sys.exit(main())
