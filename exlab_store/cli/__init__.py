"""The command ``exlab-store``: what an operator wants of a store from a shell.

It needs the extra ``cli`` (typer and rich); `main` says so where they are missing.
"""

from __future__ import annotations

__all__ = ["main"]

_NEEDS = frozenset({"typer", "rich"})


def main() -> None:
    """Runs the command with the process's arguments and ends the process with its exit code."""
    import sys

    try:
        import rich
        import typer
    except ModuleNotFoundError as error:
        if error.name not in _NEEDS:
            raise
        print(
            f"Error: the command exlab-store needs {error.name}, which is not installed.\n"
            "Hint: pip install 'exlab-store[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    del rich, typer
    from exlab_store.cli.app import run

    run()
