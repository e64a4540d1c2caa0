"""What two machines believe of the documents that they read from each other."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from exlab_store import NotSupported, open_store
from exlab_store.doctor.machines import codes
from exlab_store.doctor.machines.codes import InvalidCode, new_code, parsed
from exlab_store.doctor.machines.messages import LIMIT, Ended, Request, opened, sealed
from exlab_store.doctor.machines.post import Post
from exlab_store.doctor.machines.requests import TASKS, checked

KEY = b"k" * 32
REQUEST = Request(number=3, name="touch", arguments=msgspec.Raw(b"{}"), limit=1.0)
FOLDER = "exlab-store-doctor-0123456789abcdef"


# Codes


@pytest.mark.parametrize("typed", [str.lower, lambda text: text.replace("-", " "), lambda text: text.replace("-", "")])
def test_a_code_is_understood_however_it_is_typed(typed: object) -> None:
    code = new_code()
    assert callable(typed)
    assert parsed(typed(code.text)) == code


def test_letters_that_look_like_digits_are_those_digits() -> None:
    code = next(code for code in iter(new_code, None) if {"0", "1"} <= set(code.text))
    assert parsed(code.text.replace("0", "O").replace("1", "l")) == code


def test_every_letter_that_is_taken_for_another_one_is_noticed() -> None:
    text = new_code().text.replace("-", "")
    for place, letter in enumerate(text):
        for other in set(codes._ALPHABET) - {letter}:
            with pytest.raises(InvalidCode, match="mistyped"):
                parsed(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize("text", ["", "-", "7KQF", "\u00e9" * 16, "A" * 10_000])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(InvalidCode):
        parsed(text)


def test_the_folder_does_not_show_the_code() -> None:
    code = new_code()
    assert code.text[:4].lower() not in code.folder.removeprefix("exlab-store-doctor-")
    assert len({new_code().folder for _ in range(100)}) == 100


# Messages


def test_a_message_comes_back_as_it_was_written() -> None:
    assert opened("inviting", sealed("inviting", REQUEST, KEY), KEY) == REQUEST


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"{}",
        sealed("inviting", REQUEST, b"x" * 32),
        sealed("joined", REQUEST, KEY),
        sealed("inviting", REQUEST, KEY) + b" ",
        sealed("inviting", REQUEST, KEY).replace(b"touch", b"write"),
        sealed("inviting", Ended(number=0, reason="x" * LIMIT), KEY),
        sealed("inviting", Ended(number=0, reason="x" * 2001), KEY),
        sealed("inviting", Ended(number=-1), KEY),
    ],
    ids=[
        "empty",
        "unsigned",
        "another key",
        "the own side",
        "longer",
        "changed",
        "too long",
        "a long text",
        "negative",
    ],
)
def test_what_the_other_side_has_not_written_is_no_message(forged: bytes) -> None:
    assert opened("inviting", forged, KEY) is None


def test_a_message_that_somebody_puts_back_is_not_read_again(tmp_path: Path) -> None:
    code = new_code()
    one, other = (Post(str(tmp_path), None, code, side) for side in ("inviting", "joined"))
    key = f"{code.folder}/messages/inviting.json"
    try:
        with open_store(tmp_path) as store:
            one.write(REQUEST)
            assert other.read(20) == REQUEST
            before = store.read_snapshot(key).data
            one.write(Ended(number=4))
            assert other.read(20) == Ended(number=4)
            store.atomic_write(key, before)
            assert other.read(0.2) is None
    finally:
        one.close()
        other.close()


# Requests


def _raw(**arguments: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(arguments))


def test_a_request_gives_the_arguments_of_its_task() -> None:
    given = checked("write", _raw(key=f"{FOLDER}/a.json", data=b"\xff"), FOLDER)
    assert given == {"key": f"{FOLDER}/a.json", "data": b"\xff", "expect": None}


@pytest.mark.parametrize(
    "key", ["precious.json", f"{FOLDER}/../precious.json", f"{FOLDER}x/a.json", FOLDER, "", "/etc/x"]
)
@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if "key" in task.arguments.__struct_fields__])
def test_no_document_outside_the_folder_is_used_for_another_machine(name: str, key: str) -> None:
    fitting: dict[str, object] = {
        "data": b"1",
        "seconds": 1.0,
        "timeout": 1.0,
        "client": "x",
        "threads": 1,
        "turn": f"{FOLDER}/turn",
        "rounds": 1,
    }
    given = {field: fitting[field] for field in TASKS[name].arguments.__struct_fields__ if field in fitting}
    with pytest.raises(NotSupported):
        checked(name, _raw(key=key, **given), FOLDER)


@pytest.mark.parametrize(
    "name", ["open", "close", "clear", "delete", "find_bypass", "take_lock_away", "list_keys", "__init__", "store", ""]
)
def test_nothing_else_is_done_for_another_machine(name: str) -> None:
    with pytest.raises(NotSupported):
        checked(name, _raw(), FOLDER)


@pytest.mark.parametrize(
    "arguments",
    [
        {"key": f"{FOLDER}/a.json", "seconds": 1e9},
        {"key": f"{FOLDER}/a.json", "seconds": -1},
        {"key": f"{FOLDER}/a.json", "seconds": "1"},
        {"key": f"{FOLDER}/a.json", "seconds": 1, "more": 1},
        {"key": f"{FOLDER}/a.json"},
        {"key": 1, "seconds": 1},
        [],
    ],
)
def test_arguments_of_another_form_are_refused(arguments: object) -> None:
    with pytest.raises(NotSupported):
        checked("count_up", msgspec.Raw(msgspec.json.encode(arguments)), FOLDER)
