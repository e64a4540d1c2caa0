"""The reference and the tables of docs/ are complete and say what the code says."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import exlab_store_memory
import msgspec
import pytest
import typer.main
from exlab_store_posix.claims import claims_of
from exlab_store_posix.mounts import FileSystem, MountedFileSystem

import exlab_store
import exlab_store.backend
import exlab_store.documents
import exlab_store.migrating
from exlab_store import Guarantees, StoreError, hookspecs
from exlab_store.cli.app import app
from exlab_store.cli.exit_codes import exit_code_of
from exlab_store.hookspecs import OPTIONAL_HOOKS, REQUIRED_HOOKS

if TYPE_CHECKING:
    from postgresql_server import PostgresqlServer
    from samba_server import SambaServer

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = "".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference").glob("*.md")))


def _rows(page: str, first_cell: str) -> list[list[str]]:
    """The rows below the header that starts with this cell."""
    lines = (DOCS / page).read_text(encoding="utf-8").split(f"| {first_cell} |", 1)[1].splitlines()[2:]
    table = lines[: next(number for number, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def _header(page: str, first_cell: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith(f"| {first_cell} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("name", exlab_store.__all__)
def test_every_public_name_has_an_entry(name: str) -> None:
    # The markers are described by hand: pluggy's own docstrings say nothing of this package.
    assert re.search(rf"^\.\. (?:auto\w+:: exlab_store\.|data:: ){name}(?:\(\))?$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("name", exlab_store.documents.__all__)
def test_every_public_name_of_the_documents_has_an_entry(name: str) -> None:
    module = "exlab_store" if name in exlab_store.__all__ else "exlab_store.documents"
    assert re.search(rf"^\.\. auto\w+:: {re.escape(module)}\.{name}$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("name", exlab_store.backend.__all__)
def test_every_name_for_authors_of_backends_has_an_entry(name: str) -> None:
    module = "exlab_store" if name in exlab_store.__all__ else "exlab_store.backend"
    assert re.search(rf"^\.\. (?:auto\w+:: {re.escape(module)}\.|data:: ){name}(?:\(\))?$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("name", exlab_store.migrating.__all__)
def test_every_public_name_of_migrating_has_an_entry(name: str) -> None:
    assert re.search(rf"^\.\. auto\w+:: exlab_store\.migrating\.{name}$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("name", ["open_store", "Store", "StorePath", "AsyncStore"])
def test_an_entry_shows_every_public_method(name: str) -> None:
    entry = re.search(
        rf"^\.\. auto\w+:: exlab_store\.{name}(?:\(\))?\n(?:   :members:(.*)\n)?", REFERENCE, re.MULTILINE
    )
    assert entry is not None
    documented = getattr(exlab_store, name)
    if inspect.isclass(documented) and entry[1]:
        bases = [base for base in documented.__bases__ if base.__name__ not in exlab_store.__all__]
        public = {member for each in (*bases, documented) for member in vars(each) if not member.startswith("_")}
        assert {member.strip() for member in entry[1].split(",")} == public


@pytest.mark.parametrize("name", [*REQUIRED_HOOKS, *OPTIONAL_HOOKS])
def test_every_hook_is_documented_with_its_exact_signature(name: str) -> None:
    hook = getattr(hookspecs, name)
    parameters = ", ".join(f"{each.name}: {each.annotation}" for each in inspect.signature(hook).parameters.values())
    optional = "  # optional" if name in OPTIONAL_HOOKS else ""
    line = f"def {name}({parameters}) -> {inspect.signature(hook).return_annotation}: ...{optional}\n"
    page = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
    assert line in re.sub(r"\(\n {4}(.*)\n\)", r"(\1)", page)  # a long one is on three lines
    assert f".. autofunction:: exlab_store.hookspecs.{name}\n" in REFERENCE


def test_the_page_of_the_hooks_shows_no_hook_that_does_not_exist() -> None:
    page = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^def (\w+)", page, re.MULTILINE)) == {*REQUIRED_HOOKS, *OPTIONAL_HOOKS}


_ERRORS = {
    name: found
    for name, found in vars(exlab_store).items()
    if isinstance(found, type) and issubclass(found, StoreError)
}
_ARGUMENTS = {"GuaranteeNotMet": ([],), "SchemaMajorMismatchError": (1, "2.0")}
_OPTIONS = {"WriteOutcomeUnknown": {"intended": None}, "SchemaVersionMissing": {"expected_major": 1}}


@pytest.mark.parametrize("first_cell", ["Error", "Type"])
def test_the_tables_of_failures_have_every_error_once(first_cell: str) -> None:
    names = [row[0].strip("`") for row in _rows("how-to/handle-failures.md", first_cell)]
    assert sorted(names) == sorted(_ERRORS)


@pytest.mark.parametrize("row", _rows("how-to/handle-failures.md", "Error"), ids=lambda row: row[0].strip("`"))
def test_a_failure_has_the_exit_code_that_the_table_says(row: list[str]) -> None:
    name = row[0].strip("`")
    arguments = _ARGUMENTS.get(name, ("what went wrong",))
    assert int(row[1]) == exit_code_of(_ERRORS[name](*arguments, **_OPTIONS.get(name, {})))


def test_the_table_of_statuses_has_every_error_once() -> None:
    names = [row[0].strip("`") for row in _rows("how-to/map-the-errors-of-your-application.md", "Error")]
    assert sorted(names) == sorted(_ERRORS)


@pytest.mark.parametrize(
    "row", _rows("how-to/map-the-errors-of-your-application.md", "Error"), ids=lambda row: row[0].strip("`")
)
def test_an_error_has_the_status_that_the_table_says(row: list[str]) -> None:
    assert int(row[1]) == _ERRORS[row[0].strip("`")].http_status


@pytest.mark.parametrize("row", _rows("how-to/handle-failures.md", "Type"), ids=lambda row: row[0].strip("`"))
def test_a_failure_has_the_code_and_the_built_in_type_that_the_table_says(row: list[str]) -> None:
    name, code, also = (cell.strip("`") for cell in row)
    error_type: type[StoreError] = _ERRORS[name]
    assert code == error_type.code
    bases = [base.__name__ for base in error_type.__mro__ if base.__module__ == "builtins"]
    own = [base for base in bases if base not in {"object", "BaseException", "Exception"}]
    assert also in own if also else not own


def test_the_page_of_the_command_shows_the_help_of_every_command() -> None:
    assert "```{command-help}\n" in REFERENCE
    root = typer.main.get_command(app)
    commands = {
        f"{name} {inner}".strip()
        for name, command in root.commands.items()
        for inner in getattr(command, "commands", {"": None})
    }
    assert set(re.findall(r"^```\{command-help\} (.+)$", REFERENCE, re.MULTILINE)) == commands


_COLUMNS = {
    "local disk": ("linux", MountedFileSystem(FileSystem.LOCAL)),
    "NFS 4 mount": ("linux", MountedFileSystem(FileSystem.NFS, {"vers": "4.2", "local_lock": "none"})),
    "SMB mount": ("linux", MountedFileSystem(FileSystem.SMB_MOUNT, {"vers": "3.1.1", "cache": "strict"})),
    "other network": ("linux", MountedFileSystem(FileSystem.NETWORK)),
    "tmpfs": ("linux", MountedFileSystem(FileSystem.VOLATILE)),
    "FUSE, other": ("linux", MountedFileSystem(FileSystem.UNKNOWN)),
    "macOS": ("darwin", MountedFileSystem(FileSystem.UNKNOWN)),
    "Windows, NTFS": ("win32", MountedFileSystem(FileSystem.LOCAL)),
    "Windows, share": ("win32", MountedFileSystem(FileSystem.WINDOWS_SHARE)),
    "`smb:`": None,
    "`postgresql:`": None,
    "`memory:`": None,
}


def test_the_table_of_guarantees_has_every_guarantee_and_every_place() -> None:
    assert _header("guarantees.md", "Guarantee")[1:] == list(_COLUMNS)
    names = [row[0].strip("`") for row in _rows("guarantees.md", "Guarantee")]
    assert names == list(Guarantees.__struct_fields__)


@pytest.mark.parametrize("column", _COLUMNS)
def test_the_table_of_guarantees_says_what_the_backends_say(
    column: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _COLUMNS[column]
    if column == "`smb:`":
        samba: SambaServer = request.getfixturevalue("samba")
        with exlab_store.open_store(samba.url(), password=samba.password) as store:
            guarantees = store.guarantees
    elif column == "`postgresql:`":
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        with exlab_store.open_store(server.url(), create=True, **server.options()) as store:
            guarantees = store.guarantees
    elif place is None:
        guarantees = exlab_store_memory.MemoryBackend.guarantees
    else:
        platform, mount = place
        monkeypatch.setattr(sys, "platform", platform)
        guarantees = claims_of(mount, flushes=platform == "darwin")
    number = _header("guarantees.md", "Guarantee").index(column)
    shown = {row[0].strip("`"): row[number] for row in _rows("guarantees.md", "Guarantee")}
    words = {True: "yes", False: "no"}
    assert shown == {name: words.get(value, value) for name, value in msgspec.structs.asdict(guarantees).items()}
