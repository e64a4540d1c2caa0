"""Every command and every snippet of README.md and docs/ does what it says.

The blocks of a page run in order, in one namespace and one directory:

- ``python`` is executed, ``pycon`` is executed and compared as a doctest;
- ``console`` runs each line that starts with ``$ ``, and those that continue it with ``> ``, in a shell, and compares
  what is printed with the lines below, where ``...`` stands for anything;
- ``{code-block}`` with a ``:caption:`` is a file of that name;
- ``text`` with an arrow, ``▼``, is a picture.

``/data/lab`` stands for a directory of the reader's; here it is a temporary one. ``smb://nas01`` stands for the site's
file server; here it is a real one, with the smb.conf of the page about it. Blocks that name it are left out where there
is no smbd, so no other block may depend on one. ``s3://lab`` is a real bucket too, ``postgresql://db01`` a real
database server, and ``sftp://nas01`` a real SSH server.

A block that cannot run has a comment ``<!-- not run: why -->`` above it. A page that names an example of
``docs/examples`` finds a copy of it in its directory, and may install it. The examples' own READMEs belong to
``tests/testing``.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bucket
import database
import nas
import pytest
import ssh_site
from conftest import lacking
from samba_server import find_smbd
from ssh_server import find_sshd

from exlab_store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.one_interpreter

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "examples"} & set(path.parts)),
]

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>.+?) -->\n)?```(?P<language>\S*) ?(?P<argument>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_EXECUTED = {"python", "pycon", "console"}
# Directives, which produce text of their own.
_PRODUCING = {"{toctree}", "{eval-rst}", "{command-help}", "{literalinclude}"}


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str
    file: str | None
    why_not: str | None


def blocks_of(page: Path) -> list[Block]:
    source = page.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in _BLOCK.finditer(source):
        text, caption = match["text"], None
        if match["language"] == "{code-block}":
            options, _, text = text.partition("\n\n")
            caption = options.removeprefix(":caption: ")
        line = source.count("\n", 0, match.start("text")) + 1
        found.append(Block(page, line, match["language"], text, caption, match["why"]))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def _named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _runs(block: Block) -> bool:
    return block.why_not is None and (block.language in _EXECUTED or block.file is not None)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk: pages show what a local disk guarantees."""
    for place in (tmp_path, Path("/var/tmp"), ROOT / ".cache"):
        if not place.is_dir():
            continue
        directory = Path(tempfile.mkdtemp(prefix="docs-", dir=place))
        try:
            with open_store(directory) as store:
                durable = store.guarantees.durable and store.guarantees.fenced
            if durable:
                yield directory / "lab"
                return
        finally:
            shutil.rmtree(directory)
    lacking("no directory for temporary files is on a local disk")


class Reader:
    """Somebody who follows one page."""

    def __init__(self, directory: Path, lab: Path, *sites: nas.Nas | database.Database | ssh_site.SshSite) -> None:
        self._directory = directory
        self._lab = str(lab)
        self._sites = sites
        self._namespace: dict[str, Any] = {"__name__": "__main__"}

    def _real(self, text: str) -> str:
        text = text.replace("/data/lab", self._lab)
        for site in self._sites:
            text = site.real(text)
        return text

    def _shown(self, text: str) -> str:
        text = text.replace(self._lab, "/data/lab")
        for site in self._sites:
            text = site.shown(text)
        return text

    def follow(self, block: Block) -> None:
        text = self._real(block.text)
        place = f"{block.page}:{block.line}"
        if block.file is not None:
            (self._directory / block.file).write_text(text, encoding="utf-8")
        elif block.language == "python":
            # The line numbers of a traceback are those of the page.
            code = compile("\n" * (block.line - 1) + text, str(block.page), "exec", dont_inherit=True)
            exec(code, self._namespace)
        elif block.language == "pycon":
            self._compare_session(block.text, place)
        else:
            self._compare_console(text, place)

    def _compare_session(self, text: str, place: str) -> None:
        test = doctest.DocTestParser().get_doctest(text, self._namespace, place, place, 0)
        for example in test.examples:
            example.source = self._real(example.source)
        report: list[str] = []
        runner = doctest.DocTestRunner(_Checker(self._shown), verbose=False, optionflags=doctest.ELLIPSIS)
        runner.run(test, out=report.append, clear_globs=False)
        self._namespace.update(test.globs)
        assert not runner.failures, "".join(report)

    def _compare_console(self, text: str, place: str) -> None:
        environment = os.environ | {
            "PATH": os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"])),
            "COLUMNS": "160",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        environment.pop("PYTEST_ADDOPTS", None)
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            typed = re.match(r".*\n(?:> .*\n)*", part)
            assert typed is not None, place
            command, expected = typed[0].replace("\n> ", "\n"), part[typed.end() :]
            done = subprocess.run(
                command,
                shell=True,
                cwd=self._directory,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                timeout=60,
            )
            for site in self._sites:
                expected, done.stdout = site.shown(expected), site.shown(done.stdout)
            assert _agrees(expected, done.stdout), f"{place}: $ {command}\nexpected:\n{expected}\ngot:\n{done.stdout}"


class _Checker(doctest.OutputChecker):
    def __init__(self, shown: Callable[[str], str]) -> None:
        self._shown = shown

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(want, self._shown(got), optionflags)


def _agrees(expected: str, got: str) -> bool:
    def tidied(text: str) -> str:
        return "\n".join(line.rstrip() for line in text.strip().splitlines())

    return doctest.OutputChecker().check_output(tidied(expected) + "\n", tidied(got) + "\n", doctest.ELLIPSIS)


def _provide_examples(page: Path, directory: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies the examples that a page names, and has pip install them into a directory, without the network."""
    named = [example for example in EXAMPLES.iterdir() if example.name in page.read_text(encoding="utf-8")]
    for example in named:
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(example, directory / example.name, ignore=ignored)
    if named:
        # pip reads "0" as: no isolation.
        without_network = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
        for name, value in without_network.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PIP_TARGET", str(site))
        monkeypatch.setenv("PYTHONPATH", str(site))


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(_runs, blocks_of(page)))], ids=_named)
def test_a_page_does_what_it_says(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = [block for block in blocks_of(page) if _runs(block)]
    lab: Path = request.getfixturevalue("lab")
    if not any("mkdir -p /data/lab" in block.text for block in blocks):
        lab.mkdir()
    directory = tmp_path / "reader"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.syspath_prepend(str(directory))
    _provide_examples(page, directory, tmp_path / "site", monkeypatch)
    with ExitStack() as running:
        sites: list[nas.Nas | database.Database | ssh_site.SshSite] = []
        if any(nas.needed_by(block.text) for block in blocks) and find_smbd() is not None:
            sites.append(running.enter_context(nas.running()))
        without_nas = not sites
        if any(database.needed_by(block.text) for block in blocks):
            sites.append(running.enter_context(database.running()))
        without_sshd = find_sshd() is None
        if any(ssh_site.needed_by(block.text) for block in blocks) and not without_sshd:
            sites.append(running.enter_context(ssh_site.running()))
        for site in sites:
            site.sign_in(monkeypatch)
        if any(bucket.needed_by(block.text) for block in blocks):
            bucket.sign_in(request.getfixturevalue("seaweed"), monkeypatch)
        reader = Reader(directory, lab, *sites)
        left_out = False
        for block in blocks:
            if (nas.needed_by(block.text) and without_nas) or (ssh_site.needed_by(block.text) and without_sshd):
                left_out = True
            else:
                reader.follow(block)
    if left_out:
        lacking("install Debian's packages samba and openssh-server: they have the servers that the page talks to")


def test_only_the_set_up_commands_are_not_run_and_ci_runs_those() -> None:
    # tests/windows runs those of Windows, with Python for Windows.
    here = [block for block in BLOCKS if block.page.name != "use-on-windows.md"]
    not_run = [block.text.strip() for block in here if block.why_not is not None]
    assert not_run == [
        'python3 -m venv .venv && .venv/bin/pip install --quiet ".[cli]" && .venv/bin/exlab-store demo',
        "python3 tests/run.py",
        "$ exlab-store doctor /mnt/lab/exlab --invite",
        (
            "$ exlab-store doctor /mnt/nas/exlab --invite\n"
            "On the other machine, run this within 600 s, with the location as that machine sees it:\n"
            "  exlab-store doctor /mnt/nas/exlab --join 7KQF-2MXD-9TRA-H4WC"
        ),
        '$ pip install "exlab-store[smb]" pyinstaller\n$ pyinstaller --onedir application.py',
        (
            '[stores.catalogue]\nurl = "fsspec+webdav://cloud.example/lab"\nusername = "exlab"\n'
            'password = { env = "DAV_PASSWORD" }\nrequire = { atomic_replace = true }\n'
            'options = { timeout = 10.0, storage_options = { headers = { User-Agent = "exlab" } } }'
        ),
        "$ cd exlab-store-sqlite && pytest",
    ]


def test_ci_calls_the_test_command_of_the_readme() -> None:
    assert "python3 tests/run.py" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_demo_of_the_readme_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exlab_store.cli", "demo", "--help"], capture_output=True, text=True, check=True
    )
    assert "torn" in done.stdout


def test_every_other_block_is_run_or_is_a_directive_or_a_picture() -> None:
    unknown = [
        f"{_named(block.page)}:{block.line}: {block.language}"
        for block in BLOCKS
        if block.why_not is None and not _runs(block) and block.language not in _PRODUCING
        if not (block.language == "text" and "▼" in block.text)
    ]
    assert unknown == []


def test_every_fence_of_a_page_is_found() -> None:
    for page in PAGES:
        fences = re.findall(r"^\s*(?:```|~~~|:::)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks_of(page)), _named(page)


def test_a_wrong_page_is_found(tmp_path: Path) -> None:
    reader = Reader(tmp_path, tmp_path)

    def follow(language: str, text: str) -> None:
        reader.follow(Block(tmp_path / "page.md", 1, language, text, None, None))

    follow("console", "$ echo one; echo two\none\n...\n")
    with pytest.raises(AssertionError, match="expected"):
        follow("console", "$ echo one\ntwo\n")
    with pytest.raises(AssertionError, match="Expected"):
        follow("pycon", ">>> 1 + 1\n3\n")
    with pytest.raises(NameError):
        follow("python", "undefined\n")
