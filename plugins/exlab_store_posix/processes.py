"""The processes of this machine, in all containers: is the writer of a temporary file gone?"""

from __future__ import annotations

import os
import sys
from functools import cached_property

from exlab_store import came_from_signal_handler

__all__ = ["ProcessTable"]

# The initial namespace's number is a constant of the kernel (PROC_PID_INIT_INO).
_INITIAL = "pid:[4026531836]"


class ProcessTable:
    """The processes at one moment.

    A number in a file's name is the writer's in *its* namespace: a container's process 7 is another number here. So
    the numbers of all namespaces count, and only one who sees all of them, outside of any container and of a /proc
    that hides other accounts' processes (``hidepid``), can say that a number is nobody's.

    Args:
        proc: Where /proc is.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc

    def are_gone(self, number: int, name: str) -> bool:
        """Whether no process can be the one that wrote a file; False if nobody can tell.

        Args:
            number: The writer's process identifier, in whichever namespace it was.
            name: The file's own name. A server that runs here may have it open for a client elsewhere, to whose
                process the number belongs; it is seen where this account may look at the server's files.
        """
        return self._numbers is not None and number not in self._numbers and name not in self._open_files

    @cached_property
    def sees_all(self) -> bool:
        """Whether this process is in no container: what the kernel hides from others, it shows to this one."""
        if not sys.platform.startswith("linux"):
            return False
        try:
            return os.readlink(f"{self._proc}/self/ns/pid") == _INITIAL
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            return False

    @cached_property
    def _numbers(self) -> frozenset[int] | None:
        """The numbers of all processes in all namespaces; None if some may be hidden."""
        if not self.sees_all:
            return None
        numbers: set[int] = set()
        try:
            for each in self._ids():
                numbers.update(self._numbers_of(each))
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            return None
        return frozenset(numbers) if 1 in numbers else None

    def _ids(self) -> list[str]:
        return [name for name in os.listdir(self._proc) if name.isdecimal()]

    def _numbers_of(self, each: str) -> list[int]:
        try:
            with open(f"{self._proc}/{each}/status", encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return []  # it has ended meanwhile
        found = next((line for line in lines if line.startswith("NSpid:")), None)
        if found is None:
            raise OSError("this kernel does not tell the numbers of other namespaces")
        return [int(number) for number in found.split()[1:]]

    @cached_property
    def _open_files(self) -> frozenset[str]:
        """The names, without folders, of the files that are open, as far as this account may look.

        The links are read and not followed: a file on a share that does not answer would hold this process up.
        """
        names: set[str] = set()
        for each in self._ids():
            folder = f"{self._proc}/{each}/fd"
            try:
                descriptors = os.listdir(folder)
            except OSError as error:
                if came_from_signal_handler(error):
                    raise
                continue
            for descriptor in descriptors:
                try:
                    names.add(os.readlink(f"{folder}/{descriptor}").rpartition("/")[2])
                except OSError as error:
                    if came_from_signal_handler(error):
                        raise
                    continue
        return frozenset(names)
