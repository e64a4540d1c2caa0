"""Sentences of the doctor: a clause begins with a capital, and a name stays what it is."""

from __future__ import annotations

import pytest

from exlab_store.doctor.wording import sentence


@pytest.mark.parametrize(
    ("clause", "said"),
    [
        ("the disk is full", "The disk is full."),
        ("a, b and c", "A, b and c."),
        ("done", "Done."),
        ("done!", "Done!"),
        ("", "."),
    ],
)
def test_a_clause_becomes_a_sentence(clause: str, said: str) -> None:
    assert sentence(clause) == said


@pytest.mark.parametrize(
    "name",
    ["equipment.json", "lab/equipment.json", "exlab-store-doctor-1/a", "file:///data/lab", "smb://nas01/lab", "nas01"]
    + ["schema_version", "a.json", "runs.json.lock", "cache-2/x", "ftruncate()", "fsync(2)"],
)
def test_a_name_at_the_beginning_is_not_capitalised(name: str) -> None:
    assert sentence(f"{name} cannot be read") == f"{name} cannot be read."
    assert sentence(f"{name}: it cannot be read") == f"{name}: it cannot be read."
