"""Text from documents cannot drive a terminal."""

from __future__ import annotations

import json

import pytest

from exlab_store.cli.plain_text import json_line, one_line, sentence


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\r\nlines\tand\u2028more ", "two lines and more"),
        ("\x1b[2J\x07\x9b1m\x00", "\\x1b[2J\\x07\\x9b1m\\x00"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("\udcff", "\\udcff"),
        ("[bold]markup[/bold] :smile:", "[bold]markup[/bold] :smile:"),
        ("T. 田中, J. Ødegård, مشروع, 👩\u200d🔬", "T. 田中, J. Ødegård, مشروع, 👩\u200d🔬"),
    ],
)
def test_text_is_on_one_line_and_its_control_characters_are_visible(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize("text", ["It failed", "It failed.", " It\nfailed."])
def test_a_sentence_ends_with_one_full_stop(text: str) -> None:
    assert sentence(text) == "It failed."


EVIL = "a\x1b[2J\x7f\x9b31m\u2028\u202e\u2066 田中"


def test_json_has_no_control_characters_and_means_the_same() -> None:
    line = json_line({"name": EVIL, EVIL: [EVIL]})
    assert one_line(line) == line
    assert json.loads(line) == {"name": EVIL, EVIL: [EVIL]}
    assert "田中" in line


def test_json_of_a_name_that_is_not_utf8_can_be_read_by_everybody() -> None:
    line = json_line({"location": "m\udcfcller", "documents": ("a\ud800",)})
    assert json.loads(line) == {"location": "m\\udcfcller", "documents": ["a\\ud800"]}
