"""The output of the command: answers on standard output, errors and progress on standard error."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
import textwrap
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from exlab_store import StoreError
from exlab_store.cli.exit_codes import ExitCode, exit_code_of
from exlab_store.cli.plain_text import json_line, sentence

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import Console, RenderableType

__all__ = [
    "END_OF_INPUT",
    "answering",
    "error_console",
    "is_asking",
    "prepare_streams",
    "print_bytes",
    "print_json",
    "print_text",
    "say",
    "say_unexpected",
    "show",
]


END_OF_INPUT = "Ctrl-Z and Enter" if os.name == "nt" else "Ctrl-D"
"""What ends a text that is typed."""


@contextmanager
def answering(*, as_json: bool) -> Generator[None]:
    """Runs a command's body: an error becomes a sentence and a hint on standard error, and the exit code.

    Args:
        as_json: Print the error's envelope as one line of JSON instead [§4.6.3].

    Raises:
        SystemExit: The body failed, was interrupted, or nobody reads its output any more.
    """
    try:
        yield
    except StoreError as error:
        _describe(error, as_json=as_json)
        raise SystemExit(exit_code_of(error)) from None
    except KeyboardInterrupt:
        # Here and not only at the top: some versions of typer would say "Aborted!" and end with 1.
        raise SystemExit(ExitCode.INTERRUPTED) from None


def _describe(error: StoreError, *, as_json: bool) -> None:
    if as_json:
        _say_raw(json_line(error.envelope()))
        return
    say(f"Error: {sentence(error.sentence)}")
    if error.hint:
        say(f"Hint: {sentence(error.hint)}")


def say(text: str) -> None:
    """Prints a line on standard error, wrapped between words where that is a terminal.

    Args:
        text: One line, safe to print.
    """
    if _is_terminal(sys.stderr):
        width = shutil.get_terminal_size().columns
        # A path that is broken in two cannot be copied: the terminal wraps those that are too long itself.
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    _say_raw(text)


def say_unexpected(error: Exception) -> None:
    """Prints an error that no rule covers: its type and where it arose, not its traceback.

    Args:
        error: A fault of this program, or of a plugin.
    """
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    say(f"Error: {sentence(f'unexpected {type(error).__name__}{place}: {error}')}")
    say("Hint: This is a fault in exlab-store or in a plugin; report it with this line.")


def prepare_streams() -> None:
    """Makes standard output write the whole of what it is given, whatever the environment says.

    It and standard error show "?" for what their encoding lacks: a name in another script is no error.
    """
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        # PYTHONUNBUFFERED: a raw stream writes what fits (on a full disk, say), and nobody is told of the rest.
        sys.stdout = open(sys.stdout.fileno(), "w", encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _say_raw(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)


def print_text(text: str) -> None:
    """Prints on standard output.

    Args:
        text: With its line break.
    """
    with _output():
        sys.stdout.write(text)
        sys.stdout.flush()


def print_json(value: object) -> None:
    """Prints a value as JSON on standard output: UTF-8, whatever the terminal's encoding is.

    Args:
        value: Structs, dicts, lists and scalars.
    """
    import msgspec

    print_bytes(msgspec.json.format(json_line(value), indent=2).encode() + b"\n")


def print_bytes(data: bytes) -> None:
    """Writes bytes to standard output, exactly as they are.

    Args:
        data: What a document holds, say.
    """
    with _output():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def show(*parts: RenderableType) -> None:
    """Prints tables and texts on standard output; without colours where that is not a terminal.

    Args:
        parts: rich renderables. Pass text from documents as `rich.text.Text`: a str is markup.
    """
    from rich.console import Console

    with _output():
        console = Console(file=sys.stdout, highlight=False, emoji=False)
        if console.legacy_windows:  # a console that shows the codes of colours as text
            console = Console(file=sys.stdout, highlight=False, emoji=False, color_system=None)
        # Rendered first and written at once: rich has its own idea of what to do when nobody reads.
        with console.capture() as rendered:
            for part in parts:
                console.print(part)
        lines = rendered.get().splitlines()
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines))
        sys.stdout.flush()


def is_asking() -> bool:
    """Whether somebody can be asked: standard input and standard error are a terminal."""
    return _is_terminal(sys.stdin) and _is_terminal(sys.stderr)


def error_console() -> Console | None:
    """Where progress is shown: standard error, or None where that is no terminal."""
    if not _is_terminal(sys.stderr):
        return None
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False)


@contextmanager
def _output() -> Generator[None]:
    try:
        if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]  # closed by the caller's shell: >&-
            raise StoreError("standard output is closed")
        yield
    except OSError as error:
        _drop_output()
        if _tells_that_nobody_reads(error):
            raise SystemExit(ExitCode.BROKEN_PIPE) from None
        raise StoreError(f"the output cannot be written: {error.strerror or error}") from error


def _tells_that_nobody_reads(error: OSError) -> bool:
    # Windows says ERROR_NO_DATA, which its C library does not know and makes EINVAL of.
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)


def _drop_output() -> None:
    # What is still in the buffer would be written, and fail, once more when the process ends.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _is_terminal(stream: object) -> bool:
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]  # None has no isatty
    except (AttributeError, ValueError):
        return False
