"""``exlab-store doctor`` on two machines: the invitation that one shows, and the part that the other takes."""

from __future__ import annotations

import os
import shlex
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exlab_store import Location, LocationError
from exlab_store.cli.ending import ended_in_order
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import json_line, one_line
from exlab_store.cli.terminal import error_console, print_json, print_text, say
from exlab_store.doctor import join
from exlab_store.hidden_location import HiddenLocation, is_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["inviting", "run_join"]


def inviting(location: HiddenLocation, wait: float, *, as_json: bool) -> Callable[[str], None]:
    """What tells whoever is at this machine how another one takes part, on standard error.

    Args:
        location: As typed.
        wait: Seconds that there are to join.
        as_json: Print one line of JSON.
    """

    def invited(code: str) -> None:
        where = _without_secret(location)
        if as_json:
            say(json_line({"invitation": {"code": code, "location": where, "wait": wait}}))
            return
        command = f"  exlab-store doctor {shlex.quote(where)} --join {code}"
        if len(command) > shutil.get_terminal_size().columns:  # it is to be copied as one line
            command = f"  exlab-store doctor LOCATION --join {code}"
        say(f"On the other machine, run this within {wait:.0f} s, with the location as that machine sees it:")
        say(one_line(command).rjust(len(command)))

    return invited


def _without_secret(location: HiddenLocation) -> str:
    if is_name(location):
        return os.fspath(location)
    try:
        at = Location.parse(resolved(location))
    except LocationError:
        return "LOCATION"
    return str(at) if at.host or at.scheme != "file" else at.path


def run_join(location: HiddenLocation, code: str, *, as_json: bool) -> None:
    """Takes part in the examination of another machine, and prints that it did.

    Args:
        location: As typed.
        code: As typed.
        as_json: Print JSON.

    Raises:
        StoreError: There is no such examination, or it ended before it was over.
    """
    with ended_in_order(), _shown() as progress:
        part = join(resolved(location), code, progress=progress)
    if as_json:
        print_json(part)
        return
    other = one_line(part.other)
    print_text(
        f"Took part in the examination of {one_line(part.location)} that {other} has made: {part.requests} requests in "
        f"{part.seconds:.0f} s, as {one_line(part.machine)}. The report is on {other}.\n"
    )


@contextmanager
def _shown() -> Generator[Callable[[int, str, str], None] | None]:
    console = error_console()
    if console is None:
        yield None
        return
    from rich.text import Text

    with console.status("Looking for the examination") as status:

        def tell(done: int, other: str, what: str) -> None:
            status.update(Text(f"{one_line(other)} examines: {done} requests done; {one_line(what.replace('_', ' '))}"))

        yield tell
