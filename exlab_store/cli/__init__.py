"""The command ``exlab-store``: what an operator wants of a store from a shell.

It needs the extra ``cli`` (typer and rich); `main` says so where they are missing.
"""

from __future__ import annotations

__all__ = ["main"]

_NEEDS = frozenset({"typer", "rich"})


def main() -> None:
    """Runs the command with the process's arguments and ends the process with its exit code."""
    import sys

    _leave_folder_of_programs(sys.path, sys.argv[0])
    try:
        import rich
        import typer
    except ModuleNotFoundError as error:
        if error.name not in _NEEDS:
            raise
        from exlab_store.installing import how_to_install

        print(
            f"Error: the command exlab-store needs {error.name}, which is not installed.\n"
            f"Hint: {how_to_install('exlab-store[cli]')}",
            file=sys.stderr,
        )
        sys.exit(1)
    del rich, typer
    from exlab_store.cli.app import run

    run()


def _leave_folder_of_programs(path: list[str], program: str) -> None:
    """Takes the folder in which this command stands off the path of imports.

    Other programs stand there too, and the ``smbclient.py`` that impacket installs would be imported in the place of
    smbprotocol's package.
    """
    import os

    # The name first: where the working directory is gone, no path can be looked at.
    if path and os.path.basename(program).startswith("exlab-store"):
        folder = os.path.dirname(os.path.abspath(program))
        if os.path.realpath(path[0]) in {folder, os.path.realpath(folder)}:
            del path[0]
