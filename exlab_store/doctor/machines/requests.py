"""The requests that one machine accepts from the other: these tasks, arguments of these types, in one folder.

The types are those of the client's methods, so that nothing is written down twice. Whoever knows the code is let work
in that folder, within bounds: no text is longer, and no wait or number is larger, than a probe needs.
"""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import msgspec

from exlab_store.doctor.requests import DoctorRequests
from exlab_store.errors import NotSupported
from exlab_store.keys import check_key
from exlab_store.model import Version
from exlab_store.store import Store

__all__ = ["TASKS", "Task", "checked"]

_WHERE = frozenset({"key", "folder", "turn"})
_LONGEST = 1024
_LARGEST = 3600  # seconds, or how often
_ASKED = (
    "touch",
    "read",
    "write",
    "create",
    "lock",
    "release",
    "write_locked",
    "count_up",
    "swap_up",
    "occupy",
    "write_in_turns",
    "read_in_turns",
    "write_sealed",
    "read_sealed",
    "make_sealed",
    "read_made",
    "versions_of",
    "begin_watch",
    "hear",
    "end_watch",
    "cut_connections",
)


class Task(msgspec.Struct, frozen=True):
    """One task.

    Attributes:
        arguments: The struct of its arguments.
        result: The type of what comes of it.
    """

    arguments: type[msgspec.Struct]
    result: Any


def _task(name: str) -> Task:
    method = getattr(DoctorRequests, name)
    hints = get_type_hints(
        method, localns={"Version": Version, "Store": Store}
    )  # known to type checkers only, where it is used
    fields: list[Any] = []
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        field = (parameter.name, hints[parameter.name])
        fields.append(field if parameter.default is parameter.empty else (*field, parameter.default))
    return Task(msgspec.defstruct(name, fields, forbid_unknown_fields=True, kw_only=True), hints["return"])


TASKS = {name: _task(name) for name in _ASKED}


def checked(name: str, arguments: msgspec.Raw, folder: str) -> dict[str, Any]:
    """The arguments of a request from another machine.

    Args:
        name: The task.
        arguments: A JSON object.
        folder: The only folder in which documents may be used.

    Returns:
        Them, to be handed to the client.

    Raises:
        NotSupported: There is no such task here, or the arguments are not those of the task.
    """
    task = TASKS.get(name)
    if task is None:
        raise NotSupported("the other machine asked for something that is not done for others")
    try:
        given = msgspec.structs.asdict(msgspec.json.decode(arguments, type=task.arguments))
        for argument, value in given.items():
            _ensure_bounded(value)
            if argument in _WHERE:
                _ensure_inside(value, folder)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise NotSupported(f"the other machine asked for {name} in a way that is not done for others") from error
    return given


def _ensure_bounded(value: object) -> None:
    if isinstance(value, str) and len(value) > _LONGEST:
        raise ValueError("too long")
    if isinstance(value, (int, float)) and not 0 <= value <= _LARGEST:
        raise ValueError("too large")


def _ensure_inside(key: str, folder: str) -> None:
    if not check_key(key).startswith(f"{folder}/"):
        raise ValueError("outside the folder")
