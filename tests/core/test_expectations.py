"""`ensure_expected`: whether the stored document meets what its writer expects."""

from __future__ import annotations

import pytest

import exlab_store
import exlab_store.backend
from exlab_store.backend import ABSENT, ANY, DocumentExists, Version, VersionConflict, ensure_expected

ONE, OTHER = Version("1"), Version("2")


@pytest.mark.parametrize(("expect", "found"), [(ANY, None), (ANY, ONE), (ABSENT, None), (ONE, ONE)])
def test_what_meets_the_expectation_passes(expect: exlab_store.Expectation, found: Version | None) -> None:
    ensure_expected(expect, found)


def test_a_document_that_should_be_absent_is_refused_with_its_version() -> None:
    with pytest.raises(DocumentExists) as refused:
        ensure_expected(ABSENT, ONE)
    assert refused.value.found == ONE


@pytest.mark.parametrize("found", [OTHER, None])
def test_another_version_and_a_missing_document_are_refused_with_both_versions(found: Version | None) -> None:
    with pytest.raises(VersionConflict) as refused:
        ensure_expected(ONE, found)
    assert not isinstance(refused.value, DocumentExists)
    assert (refused.value.expected, refused.value.found) == (ONE, found)


def test_the_names_for_authors_are_the_same_objects_under_both_names() -> None:
    for_authors_alone = {
        "ChangeSource",
        "Latch",
        "Lease",
        "Silence",
        "UnreadableFile",
        "ensure_expected",
        "ensure_folder_wanted",
        "ensure_no_mode",
        "how_to_install",
        "import_whole",
        "in_forked_child",
        "not_ignored",
        "owner_in_record",
        "read_small_file",
        "removal_order",
        "start_thread",
        "under_mutex",
    }
    shared = set(exlab_store.backend.__all__) - for_authors_alone
    assert shared <= set(exlab_store.__all__)
    differing = [name for name in shared if getattr(exlab_store, name) is not getattr(exlab_store.backend, name)]
    assert differing == []
