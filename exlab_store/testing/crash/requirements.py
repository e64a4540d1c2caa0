"""The requirements of crash tests on a machine, and the error for one that is missing."""

from __future__ import annotations

import os
import shutil
import sys

__all__ = ["CannotTest", "require_linux", "require_program", "require_root"]


class CannotTest(Exception):
    """This machine lacks a program or a right; the message is a sentence that says what to install or to do."""


def require_linux() -> None:
    """Checks that this is Linux.

    Raises:
        CannotTest: It is not.
    """
    if not sys.platform.startswith("linux"):
        raise CannotTest("crash tests need Linux")


def require_root() -> None:
    """Checks for the right to mount file systems.

    Raises:
        CannotTest: This account may not.
    """
    require_linux()
    if os.geteuid() != 0:
        raise CannotTest("run the tests as root (sudo) to mount file systems")


def require_program(name: str, package: str) -> str:
    """Finds a program.

    Args:
        name: The program.
        package: What to install where it is missing.

    Returns:
        Its path.

    Raises:
        CannotTest: It is not installed.
    """
    path = shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise CannotTest(f"install {package}: {name} is missing")
    return path
