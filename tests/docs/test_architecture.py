"""The page about the architecture says what the import contracts and the tree say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PICTURES = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
QUESTIONS = 15


def _contracts() -> dict[str, list[set[str]]]:
    """The floors of each package that has some, from the top."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layered: list[dict[str, Any]] = [each for each in settings["contracts"] if each["type"] == "layers"]
    return {
        each["containers"][0]: [{name.strip() for name in layer.split("|")} for layer in each["layers"]]
        for each in layered
    }


def _floors(picture: str) -> list[set[str]]:
    lines = [line.strip() for line in picture.splitlines()]
    # What a floor is for stands behind at least three spaces.
    return [set(re.split(r" {3,}", line)[0].split()) for line in lines if line != "▼"]


@pytest.mark.parametrize(("number", "package"), list(enumerate(_contracts())))
def test_a_picture_shows_the_floors_of_the_import_contract(number: int, package: str) -> None:
    assert _floors(PICTURES[number]) == _contracts()[package]


def test_every_floor_of_a_picture_has_an_arrow_to_the_next() -> None:
    for picture in PICTURES:
        assert [line.strip() == "▼" for line in picture.splitlines()] == [
            bool(number % 2) for number in range(len(picture.splitlines()))
        ]


def _rows(header: str) -> list[list[str]]:
    lines = PAGE.split(f"| {header} |", 1)[1].splitlines()[2:]
    table = lines[: next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


PATHS = sorted(set(re.findall(r"`((?:exlab_store|plugins)/[\w/]+\.py)`", PAGE)))


@pytest.mark.parametrize("path", PATHS)
def test_a_path_of_the_page_exists(path: str) -> None:
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("row", _rows("Question"), ids=lambda row: row[0])
def test_a_question_is_answered_by_at_most_two_files_and_a_name_that_stands_in_the_first(row: list[str]) -> None:
    files = re.findall(r"`([^`]+)`", row[1])
    assert 1 <= len(files) <= 2
    assert row[2].strip("`") in (ROOT / files[0]).read_text(encoding="utf-8")


def test_all_the_questions_are_there() -> None:
    assert len(_rows("Question")) == QUESTIONS


def test_each_rule_has_one_owner() -> None:
    owners = [re.findall(r"`([^`]+\.py)`", row[1]) for row in _rows("Rule")]
    assert all(len(owner) == 1 for owner in owners)
