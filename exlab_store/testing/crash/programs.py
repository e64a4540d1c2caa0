"""The programs that are made to crash: generator functions in a Python file.

What is before the first ``yield`` prepares, what is between the first and the second is the operation that meets the
fault, and reaching the second acknowledges it::

    def write(place):
        store = open_store(place)
        yield  # ready
        store.atomic_write("a.json", b"new")
        yield  # done
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Program", "function_of"]


class Program(NamedTuple):
    """A function in a Python file that is run in a process of its own.

    Attributes:
        file: The file; it is imported by path, so it imports only what is installed.
        function: The function's name.
    """

    file: Path
    function: str


def function_of(program: Program) -> Callable[..., object]:
    """Imports a program's file and gives its function.

    Args:
        program: The program.

    Raises:
        ImportError: The file cannot be imported.
        AttributeError: The file has no such function.
    """
    name = f"crash_program_{program.file.stem}"
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, program.file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{program.file} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    found: Callable[..., object] = getattr(module, program.function)
    return found
