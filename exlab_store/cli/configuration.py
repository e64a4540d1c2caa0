"""``exlab-store config``: what the site's configuration says, where each value comes from, and whether it works."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import msgspec

from exlab_store import Guarantees, Location, StoreError, open_store
from exlab_store.cli.exit_codes import ExitCode, exit_code_of
from exlab_store.cli.places import named_in_option
from exlab_store.cli.plain_text import one_line, sentence
from exlab_store.cli.terminal import error_console, print_json, print_text, say, show
from exlab_store.opening.configuration import find_configuration
from exlab_store.opening.secrets import SecretSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from rich.table import Table
    from rich.text import Text

    from exlab_store.opening.configuration import Configuration
    from exlab_store.opening.store_entry import StoreEntry

__all__ = ["check_configuration", "show_configuration"]

_HIDDEN = "***"


class _Setting(msgspec.Struct, frozen=True):
    """A value that is in force; its keys are those of ``--json``."""

    name: str
    value: object
    source: str


class _Checked(msgspec.Struct, frozen=True):
    """How opening a store went; its keys are those of ``--json``."""

    name: str
    ok: bool
    location: str
    milliseconds: int
    warning: str | None
    guarantees: Guarantees | None = None
    error: object = None
    hint: str | None = None


def show_configuration(*, as_json: bool) -> None:
    """Prints each store's settings with where they come from; no password is read, and none is shown.

    Args:
        as_json: Print JSON.

    Raises:
        ConfigError: There is no configuration, or it is wrong.
    """
    configuration = find_configuration()
    settings = {name: list(_settings(configuration, name)) for name in configuration.stores}
    if as_json:
        print_json(
            {
                "path": configuration.path,
                "found": _found(configuration),
                "stores": {
                    name: {"settings": rows, "warning": configuration.stores[name].warning}
                    for name, rows in settings.items()
                },
            }
        )
        return
    print_text(_header(configuration))
    show(*_rendered(settings))
    for name, entry in configuration.stores.items():
        _warn(name, entry.warning)


def check_configuration(names: Sequence[str], *, as_json: bool) -> None:
    """Opens stores, which checks what they require, and prints how that went.

    Args:
        names: Of stores, with or without ``@``; none for all.
        as_json: Print JSON.

    Raises:
        ConfigError: There is no configuration, or it is wrong.
        LocationError: There is no store of such a name.
        SystemExit: A store cannot be opened, with the exit code of the error; with 1 where several differ.
    """
    configuration = find_configuration()
    chosen = [name.removeprefix("@") for name in names] or list(configuration.stores)
    entries = {name: configuration.entry(name) for name in chosen}
    codes: set[ExitCode] = set()
    checked: list[_Checked] = []
    with _at_work() as console:
        for name, entry in entries.items():
            if console is not None:
                console.update(f"Opening @{one_line(name)}")
            answer, code = _opened(configuration, name, entry)
            checked.append(answer)
            codes.add(code)
    if as_json:
        print_json({"path": configuration.path, "found": _found(configuration), "stores": checked})
    else:
        print_text(_header(configuration))
        _print_verdicts(checked)
        for answer in checked:
            _warn(answer.name, answer.warning)
    failures = codes - {ExitCode.DONE}
    if failures:
        raise SystemExit(failures.pop() if len(failures) == 1 else ExitCode.FAILED)


def _found(configuration: Configuration) -> str:
    return "--config" if named_in_option(configuration.path) else configuration.found


def _warn(name: str, warning: str | None) -> None:
    if warning is not None:
        say(f"Warning: {sentence(f'@{name}: {warning}')}")


def _settings(configuration: Configuration, name: str) -> Iterator[_Setting]:
    entry, given = configuration.stores[name], configuration.given[name]

    def source(setting: str) -> str:
        return "file" if setting in given else "default"

    parsed = Location.parse(entry.url)
    yield _Setting("url", str(parsed), "file")
    if parsed.username is not None:
        yield _Setting("username", parsed.username, "url")
    else:
        yield _Setting("username", entry.username, source("username"))
    yield _password(entry, parsed)
    for guarantee, value in msgspec.structs.asdict(entry.require).items():
        yield _Setting(f"require.{guarantee}", value, source(f"require.{guarantee}"))
    yield _Setting("observers", list(entry.observers), source("observers"))
    if entry.ignore is not None:  # the usual names fill a page
        yield _Setting("ignore", list(entry.ignore), "file")
    if entry.watch_interval is not None:
        yield _Setting("watch_interval", entry.watch_interval, "file")
    for option, value in entry.options.items():
        yield _Setting(f"options.{option}", _without_text(value), "file")


def _password(entry: StoreEntry, parsed: Location) -> _Setting:
    if isinstance(entry.password, SecretSource):
        return _Setting("password", _HIDDEN, str(entry.password))
    if entry.password is not None:
        return _Setting("password", _HIDDEN, "file, in clear")
    if parsed.secret is not None:
        return _Setting("password", _HIDDEN, "url, in clear")
    return _Setting("password", None, "default")


def _without_text(value: object) -> object:
    """The value of an option; text may be a key or a token, and only the backend knows which is."""
    if isinstance(value, dict):
        return {name: _without_text(item) for name, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_without_text(item) for item in cast("list[object]", value)]
    return _HIDDEN if isinstance(value, str) else value


def _opened(configuration: Configuration, name: str, entry: StoreEntry) -> tuple[_Checked, ExitCode]:
    began = time.monotonic()

    def answer(**members: Any) -> _Checked:
        location = str(Location.parse(entry.url))
        milliseconds = round((time.monotonic() - began) * 1000)
        return _Checked(name, location=location, milliseconds=milliseconds, warning=entry.warning, **members)

    try:
        with open_store(f"@{name}", config=configuration.path) as store:
            return answer(ok=True, guarantees=store.guarantees), ExitCode.DONE
    except StoreError as error:
        # The location is in the answer already.
        described = error.envelope()["error"] | {"message": error.message}
        return answer(ok=False, error=described, hint=error.hint), exit_code_of(error)


def _at_work() -> AbstractContextManager[Any]:
    console = error_console()
    return nullcontext() if console is None else console.status("Opening")


def _rendered(settings: dict[str, list[_Setting]]) -> list[Table]:
    from rich.text import Text

    parts: list[Table] = []
    for name, rows in settings.items():
        table = _table(Text(f"@{one_line(name)}", style="bold"), "Value", "From")
        for row in _without_the_unrequired(rows):
            # What nobody has set stands back.
            style = "dim" if row.source == "default" else ""
            table.add_row(*(Text(text, style=style) for text in (row.name, _shown(row.value), one_line(row.source))))
        parts.append(table)
    return parts


def _without_the_unrequired(rows: Sequence[_Setting]) -> Iterator[_Setting]:
    """The settings with one row instead of one for each guarantee that is not required."""
    unrequired = False
    for row in rows:
        if row.source == "default" and row.name.startswith("require."):
            unrequired = True
            continue
        if unrequired and not row.name.startswith("require."):
            unrequired = False
            yield _Setting("require.*", "nothing else", "default")
        yield row


def _print_verdicts(checked: Sequence[_Checked]) -> None:
    if sys.stdout is not None and sys.stdout.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        show(_verdicts(checked))
        return
    # One line each, for grep and for mails; a location that is broken in two cannot be copied.
    names = max((len(answer.name) for answer in checked), default=0) + 1
    for answer in checked:
        print_text(f"@{one_line(answer.name):<{names}} {_result(answer):<7} {_what(answer)}\n")


def _verdicts(checked: Sequence[_Checked]) -> Table:
    from rich.text import Text

    table = _table(Text("Store"), "Result", "What")
    for answer in checked:
        result = Text(_result(answer), style="green" if answer.ok else "red")
        table.add_row(Text(f"@{one_line(answer.name)}"), result, Text(_what(answer)))
    return table


def _result(answer: _Checked) -> str:
    return "ok" if answer.ok else "failed"


def _what(answer: _Checked) -> str:
    if answer.ok:
        return f"{answer.location}, opened in {answer.milliseconds} ms"
    message = cast("dict[str, str]", answer.error)["message"]
    return sentence(f"{answer.location}: {message}") + (f" {sentence(answer.hint)}" if answer.hint else "")


def _header(configuration: Configuration) -> str:
    number = len(configuration.stores)
    stores = "no store" if not number else "1 store" if number == 1 else f"{number} stores"
    return f"{one_line(configuration.path)}, named by {_found(configuration)}: {stores}\n"


def _table(*columns: str | Text) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _shown(value: object) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in cast("list[object]", value))
    return one_line(str(value))
