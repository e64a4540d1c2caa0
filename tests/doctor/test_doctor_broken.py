"""The doctor finds what is wrong with the backends that are each wrong in one way."""

from __future__ import annotations

from pathlib import Path

import pytest
from examined import BRIEF, finding, on_a_disk, outcomes, seen

from exlab_store import BackendUnavailable, PluginError
from exlab_store.doctor import examine, watching

pytestmark = pytest.mark.one_interpreter

_BROKEN = Path(__file__).parents[1] / "testing" / "broken"

# The probe that sees it, and the claim that it takes away, if it takes one away.
FOUND: dict[str, tuple[str, str | None]] = {
    "in-place-write": ("replace", "atomic_replace"),
    "temp-name-by-pid": ("replace", None),
    "temp-name-by-pid-and-thread": ("replace", None),
    "temporary-left-behind": ("leftovers", None),
    "expectation-before-lock": ("swap", "conditional_write"),
    "absent-means-any": ("swap", "conditional_write"),
    "lock-per-object": ("lock", "lock_scope"),
    "lock-ignores-processes": ("lock", "lock_scope"),
    "one-lock-for-all": ("separate", None),
    "long-lock-names-cut": ("separate", None),
    "lock-outlives-its-holder": ("crash", "lock_release"),
    "waits-for-ever": ("wait", None),
    "ignores-cancellation": ("wait", None),
    "stale-read": ("fresh", "fresh"),
    "stale-read-at-times": ("fresh", "fresh"),
    "stale-read-of-a-process": ("fresh", "fresh"),
    "stale-read-under-the-lock": ("fresh", "fresh"),
    "text-mode": ("exact", None),
    "version-from-mtime": ("exact", None),
    "none-result": ("reach", None),
    "foreign-exceptions": ("list", None),
    "lists-temporary-files": ("list", "lists"),
    "lists-locks": ("list", "lists"),
    "prefix-of-a-name": ("list", "lists"),
    "deletes-on-no-condition": ("list", "deletes"),
    "forgets-the-release": ("lock", None),
    "releases-before-it-writes": ("lock", "lock_scope"),
    "held-locks-look-free": ("leftovers", None),
    "documents-look-left-over": ("leftovers", None),
    "looks-by-locking": ("leftovers", None),
    "fence-at-the-start": ("fence", "fenced"),
    "one-try-takes-a-second": ("wait", None),
    "readers-wait": ("lock", None),
    "failing-release": ("lock", None),
    "first-page-of-a-listing": ("list", "lists"),
    "absent-in-place": ("replace", "atomic_replace"),
    "deletes-what-it-did-not-see": ("list", "deletes"),
    "version-of-what-is-there": ("swap", "conditional_write"),
    "version-from-a-checksum": ("swap", "conditional_write"),
    "prunes-empty-folders": ("list", None),
    "lock-for-children": ("crash", "lock_release"),
    "lock-of-one-thread": ("lock", None),
    "descriptors-leak": ("leftovers", None),
    "lock-on-the-document": ("lock", "lock_scope"),
    "tombstones": ("list", "deletes"),
    "lock-left-by-a-failed-read": ("lock", None),
    "deaf-to-new-folders": ("watching", "watch"),
    "watches-from-the-first-wait": ("watching", "watch"),
    "watch-that-cannot-be-ended": ("watching", None),
}
# The store does not even open.
REFUSED = ("parameter-default", "guarantees-of-another-type")
# Only a power cut or a trace of system calls shows these, ...
UNSEEN = (
    "no-file-fsync",
    "no-directory-fsync",
    "no-fsync-of-new-directories",
    "no-sync-of-deletions",
    "no-sync-of-updates",
)
# ... only who calls the hooks sees these, as a store looks before it asks the backend: a lock of its has one holder in
# a process, and refuses to be pickled, ...
GUARDED = (
    "fencing-not-checked",
    "writes-after-the-loss",
    "released-by-another",
    "removes-anything",
    "record-locks",
    "lock-in-a-parcel",
)
# ... these harm no update, as it compares versions too where a backend can, and begins again, ...
COMPARED = ("reads-before-the-lock", "locks-what-it-does-not-read")
# ... these are matters of secrets, and these of what is not claimed, which a store does not pass on.
NOT_OF_THE_STORAGE = ("secret-in-repr", "secret-in-error", "secret-in-the-log", "secret-in-a-variable")
NOT_CLAIMED = ("unclaimed-listing-works", "unclaimed-deletion-does-nothing", "unclaimed-lock-does-nothing")

# A race needs its time to be lost.
_RACES = {
    "in-place-write",
    "temp-name-by-pid",
    "temp-name-by-pid-and-thread",
    "expectation-before-lock",
    "releases-before-it-writes",
    "lists-temporary-files",
    "absent-in-place",
    "deletes-what-it-did-not-see",
    "version-of-what-is-there",
    "prunes-empty-folders",
}
# One for each probe; the others take their time.
_QUICK = {
    "in-place-write",
    "temporary-left-behind",
    "expectation-before-lock",
    "lock-ignores-processes",
    "long-lock-names-cut",
    "lock-outlives-its-holder",
    "ignores-cancellation",
    "stale-read-at-times",
    "stale-read-under-the-lock",
    "text-mode",
    "none-result",
    "lists-temporary-files",
    "fence-at-the-start",
    "absent-in-place",
    "version-from-a-checksum",
    "lock-on-the-document",
    "tombstones",
    "descriptors-leak",
    "deaf-to-new-folders",
}


@pytest.fixture
def flawed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(_BROKEN))


def test_every_broken_backend_is_found_or_there_is_a_reason(flawed: None) -> None:
    from every_broken_backend import BACKENDS, CAUGHT_BY

    # The doctor has no probe for the hooks that look at documents without reading them, and of a watch it sees no more
    # than a store shows: not what its source tells beside the changes, nor what is lost while connections are cut.
    not_probed = [
        flaw
        for flaw in CAUGHT_BY
        if BACKENDS[flaw].__module__ in {"broken_looks", "broken_watches"} and flaw not in FOUND
    ]
    listed = [*FOUND, *REFUSED, *UNSEEN, *GUARDED, *COMPARED, *NOT_OF_THE_STORAGE, *NOT_CLAIMED, *not_probed]
    assert sorted(listed) == sorted(CAUGHT_BY)


@pytest.mark.parametrize(
    "flaw", [pytest.param(flaw, marks=() if flaw in _QUICK else pytest.mark.slow) for flaw in FOUND]
)
def test_the_probe_for_a_flaw_finds_it(
    flaw: str, flawed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, guarantee = FOUND[flaw]
    monkeypatch.setattr(watching, "_PATIENCE", 3.0)  # what is never told is not told in 25 s either
    only = {probe, "swap"} if flaw == "temporary-left-behind" else {probe}
    seconds = 0.5 if flaw in _RACES else BRIEF
    examination = examine([f"flawed://{flaw}{tmp_path}"], seconds=seconds, only=only)
    assert outcomes(examination)[probe] in {"fail", "warn"}, examination.findings
    assert finding(examination, probe).advice
    assert [claim.guarantee for claim in examination.broken] == ([] if guarantee is None else [guarantee])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "probe", "request_"),
    [
        ("atomic_write", "reach", "write"),
        ("lock", "separate", "lock"),
        ("release", "separate", "release"),
        ("lock_and_read", "lock", "update_in_vain"),
        ("list_keys", "list", "list_while"),
        ("delete", "list", "delete"),
        ("list_leftovers", "leftovers", "look"),
    ],
)
def test_a_call_that_never_returns_is_named_and_the_doctor_goes_on(
    call: str, probe: str, request_: str, flawed: None, tmp_path: Path
) -> None:
    examination = examine([f"flawed://hangs-in-{call.replace('_', '-')}{tmp_path}"], seconds=BRIEF, only={probe})
    found = finding(examination, probe)
    assert found.outcome == "fail"
    assert f"no answer to `{request_}` within" in found.observed


@pytest.mark.slow
def test_a_place_where_no_read_returns_has_gone_and_the_read_is_named(flawed: None, tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="there was no answer to `read` within"):
        examine([f"flawed://hangs-in-read-snapshot{tmp_path}"], seconds=BRIEF, only={"reach"})


@pytest.mark.parametrize("flaw", REFUSED)
def test_a_backend_that_is_not_accepted_is_an_error(flaw: str, flawed: None, tmp_path: Path) -> None:
    with pytest.raises(PluginError):
        examine([f"flawed://{flaw}{tmp_path}"], seconds=BRIEF)


def test_the_sound_backend_that_they_are_made_from_passes(flawed: None) -> None:
    with on_a_disk() as directory:
        examination = examine([f"flawed://sound{directory}"], seconds=BRIEF)
        assert set(outcomes(examination).values()) == {"pass"}, examination.findings
        assert set(seen(examination).values()) == {"held", "plausible"}
        assert [path.name for path in directory.iterdir()] == [".commit.lock"]


@pytest.mark.slow
@pytest.mark.parametrize("flaw", FOUND)
def test_a_whole_examination_finds_the_flaw(flaw: str, flawed: None, tmp_path: Path) -> None:
    examination = examine([f"flawed://{flaw}{tmp_path}"])
    assert outcomes(examination)[FOUND[flaw][0]] in {"fail", "warn"}, examination.findings


def test_a_stale_read_breaks_the_claim_of_the_place_that_read(flawed: None, tmp_path: Path) -> None:
    stale = f"flawed://stale-read-at-times{tmp_path}"
    examination = examine([str(tmp_path), stale], seconds=BRIEF, only={"same", "fresh"})
    assert finding(examination, "fresh", 0, 1).outcome == "fail"
    assert [seen(examination, place)["fresh"] for place in (0, 1)] == ["held", "broken"]


def test_a_storage_that_leaves_the_telling_to_the_core_is_doubtful(
    flawed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_PUSHED", 0.05)  # the core looks every 3 s
    monkeypatch.setattr(watching, "_LATE", 1.0)
    examination = examine([f"flawed://mute-and-incomplete{tmp_path}"], seconds=BRIEF, only={"watching"})
    assert finding(examination, "watching").outcome == "warn", examination.findings
    assert seen(examination)["watch"] == "doubtful"
