"""What the demo rests on: a document that is torn, and an update that is lost, are noticed."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import msgspec
import pytest

from exlab_store.cli.demo import marked
from exlab_store.cli.demo.crew import Crew
from exlab_store.cli.demo.folder import set_up
from exlab_store.cli.demo.marked import INSTRUMENTS, TornDocument
from exlab_store.cli.demo.projects import ENDPOINT, sample_projects
from exlab_store.cli.demo.report import Report
from exlab_store.cli.demo.timings import Sample, Stopwatch, quantile
from exlab_store.cli.demo.verdict import Stored, Verdict, WorkerEnd, judged
from exlab_store.documents import DocumentKind, EquipmentJson
from exlab_store.hidden_location import HiddenLocation

NOW = "2026-05-05T14:23:00Z"


def _mixtures(old: bytes, new: bytes) -> list[bytes]:
    """What a reader may see while one document is written over another in place."""
    places = (1, 40, min(len(old), len(new)) // 2, min(len(old), len(new)) - 1)
    mixed = [new[:place] + old[place:] for place in places] + [new[:place] for place in places] + [b""]
    # Where both begin alike, there is nothing to be seen yet.
    return [mixture for mixture in mixed if mixture not in {old, new}]


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations([(1, 1), (1, 2), (2, 1), (3, 77)], 2)))
def test_every_mixture_of_two_records_is_torn(old: tuple[int, int], new: tuple[int, int]) -> None:
    for mixture in _mixtures(marked.record(*old), marked.record(*new)):
        with pytest.raises(TornDocument):
            marked.read_record(mixture)


def test_a_record_that_is_whole_says_whose_it_is() -> None:
    record = marked.read_record(marked.record(3, 14))
    assert (record.writer, record.serial) == (3, 14)


def test_records_differ_in_size() -> None:
    assert len({len(marked.record(1, serial)) for serial in range(100)}) > 90


def test_every_mixture_of_two_counters_is_torn() -> None:
    old = marked.counted(marked.counted(None, 0), 1)
    new = old
    for writer in (*range(1, 12), 1):
        new = marked.counted(new, writer)
    assert marked.read_counter(new).total == 13
    for mixture in _mixtures(old, new):
        with pytest.raises(TornDocument):
            marked.read_counter(mixture)


def test_a_sealed_counter_whose_parts_do_not_add_up_is_torn() -> None:
    data = marked._sealed(b'{"total":3,"by_writer":{"1":2}}')
    with pytest.raises(TornDocument, match="sum"):
        marked.read_counter(data)


def test_every_mixture_of_two_catalogues_is_torn() -> None:
    rows = sample_projects()[:20]
    old, new = (msgspec.json.encode(marked.catalogue_of(rows, number, NOW, ENDPOINT)) for number in (1, 3))
    decode = msgspec.json.Decoder(type(marked.catalogue_of(rows, 1, NOW, ENDPOINT))).decode
    marked.check_catalogue(decode(old), rows)
    for mixture in _mixtures(old, new):
        with pytest.raises((TornDocument, msgspec.DecodeError)):
            marked.check_catalogue(decode(mixture), rows)


def test_rows_of_two_publications_in_one_catalogue_are_torn() -> None:
    rows = sample_projects()
    old, new = (marked.catalogue_of(rows, number, NOW, ENDPOINT) for number in (101, 601))
    assert len(old.projects) == len(new.projects)
    mixed = msgspec.structs.replace(new, projects=new.projects[:200] + old.projects[200:])
    with pytest.raises(TornDocument):
        marked.check_catalogue(mixed, rows)


def test_a_catalogue_by_nobody_is_torn() -> None:
    catalogue = msgspec.structs.replace(marked.catalogue_of(sample_projects(), 0, NOW, ENDPOINT), produced_by="me")
    with pytest.raises(TornDocument, match="none of the writers"):
        marked.check_catalogue(catalogue, sample_projects())


def _equipment(name: str, *fields: str) -> bytes:
    payload = EquipmentJson(id=name, label="l", configured_local_root="/l", configured_nas_root="/n")
    data = DocumentKind(EquipmentJson, "1.0").encode(payload)
    for field in fields:
        data = marked.with_field(data, field)
    return data


def test_equipment_that_lacks_a_field_it_counts_is_torn() -> None:
    data = _equipment("A", "demo_1_1", "demo_2_1")
    assert marked.added_fields(marked.check_equipment(data, "A")) == {"demo_1_1", "demo_2_1"}
    for torn in (data.replace(b',"demo_2_1":true', b""), data[:-1], b"[]"):
        with pytest.raises(TornDocument):
            marked.check_equipment(torn, "A")
    with pytest.raises(TornDocument, match="says that it is 'A'"):
        marked.check_equipment(data, "B")


# A run of two writers and a reader in which all went well; each test spoils one thing.


def _writer(**changes: object) -> Report:
    report = Report(timings={"durable write": Sample(2, [0.1, 0.2]), "equipment rewrite": Sample(8, [0.1] * 8)})
    report.records, report.increments, report.fields = 5, 5, 3
    for name, value in changes.items():
        setattr(report, name, value)
    return report


def _ended(one: Report | None = None, reader: Report | None = None) -> list[WorkerEnd]:
    return [
        WorkerEnd("writer", 1, one or _writer()),
        WorkerEnd("writer", 2, _writer()),
        WorkerEnd("reader", 1, reader or Report(timings={"snapshot read": Sample(4, [0.1] * 4)})),
    ]


def _counter(*counts: int) -> bytes:
    data = marked.counted(None, 0)
    for writer, count in enumerate(counts, 1):
        for _ in range(count):
            data = marked.counted(data, writer)
    return data


def _stored(**changes: object) -> Stored:
    equipment = {
        name: _equipment(
            name,
            *(marked.field_name(w, s) for w in (1, 2) for s in (1, 2, 3) if marked.instrument_of(s) == name),
        )
        for name in INSTRUMENTS
    }
    stored = Stored(record=marked.record(2, 5), counter=_counter(5, 5), equipment=dict(equipment))
    return msgspec.structs.replace(stored, **changes)


def _loss(verdict: Verdict) -> tuple[int, int]:
    assert verdict.sound == (not verdict.problems)
    return verdict.torn_reads, verdict.lost_updates


def test_a_run_without_faults_is_sound() -> None:
    verdict = judged(_ended(), _stored())
    assert verdict.problems == ()
    assert (verdict.documents_written, verdict.reads, *_loss(verdict)) == (20, 4, 0, 0)
    assert (verdict.increments, verdict.added_fields) == (10, 6)


def test_a_torn_read_is_counted_and_told() -> None:
    verdict = judged(_ended(reader=Report(torn=2, torn_examples=["it does not match its seal"])), _stored())
    assert _loss(verdict) == (2, 0)
    assert verdict.problems == ("reader 1 read 2 torn documents: it does not match its seal",)


def test_a_lost_increment_is_counted_for_its_writer() -> None:
    verdict = judged(_ended(), _stored(counter=_counter(5, 2)))
    assert _loss(verdict) == (0, 3)
    assert verdict.problems == ("3 lost updates: writer 2 was acknowledged 5 increments, and 2 are there",)


def test_one_writers_surplus_does_not_hide_anothers_loss() -> None:
    verdict = judged(_ended(), _stored(counter=_counter(6, 4)))
    assert _loss(verdict) == (0, 1)
    assert "writer 1 has 1 increments too many" in verdict.problems


def test_a_writer_that_gave_up_may_have_done_one_more() -> None:
    verdict = judged(_ended(one=_writer(fault="the server does not answer")), _stored(counter=_counter(6, 5)))
    assert verdict.problems == ("writer 1 gave up: the server does not answer",)


def test_a_missing_field_is_a_lost_update() -> None:
    stored = _stored()
    name = marked.instrument_of(2)
    stored.equipment[name] = _equipment(name, marked.field_name(2, 2))
    verdict = judged(_ended(), stored)
    assert _loss(verdict) == (0, 1)
    assert verdict.problems == (f"1 lost update: equipment.json of {name} lacks demo_1_2",)


def test_a_record_that_is_not_the_last_is_a_lost_update() -> None:
    assert _loss(judged(_ended(), _stored(record=marked.record(2, 4)))) == (0, 1)
    assert _loss(judged(_ended(), _stored(record=marked.record(0, 0)))) == (0, 1)


def test_a_record_by_nobody_is_torn() -> None:
    assert _loss(judged(_ended(), _stored(record=marked.record(9, 1)))) == (1, 0)


@pytest.mark.parametrize("data", [None, b"", b"garbage", marked.record(1, 1)[:-3]])
def test_documents_that_are_gone_or_garbage_in_the_end_are_torn_and_lost(data: bytes | None) -> None:
    assert _loss(judged(_ended(), _stored(record=data))) == (1, 0)
    assert _loss(judged(_ended(), _stored(counter=data))) == (1, 10)
    stored = _stored()
    name = marked.instrument_of(1)
    stored.equipment[name] = data
    torn, lost = _loss(judged(_ended(), stored))
    assert (torn, lost) == ((0, 3) if data is None else (1, 2))


def test_a_flaw_of_the_catalogue_is_torn() -> None:
    assert _loss(judged(_ended(), _stored(catalogue_flaw="the catalogue is empty"))) == (1, 0)


def test_a_worker_that_died_is_a_problem_and_its_work_is_not_held_against_the_store() -> None:
    ended = [WorkerEnd("writer", 1, None, "ended by SIGKILL"), *_ended()[1:]]
    verdict = judged(ended, _stored(record=marked.record(1, 99)))
    assert verdict.problems == ("writer 1 died: ended by SIGKILL",)
    assert _loss(verdict) == (0, 0)


def test_writers_that_never_registered_have_lost_nothing() -> None:
    failed = Report(fault="no room")
    ended = [WorkerEnd("writer", 1, failed), WorkerEnd("writer", 2, failed)]
    stored = Stored(marked.record(0, 0), marked.counted(None, 0), dict.fromkeys(INSTRUMENTS))
    assert _loss(judged(ended, stored)) == (0, 0)


def test_quantiles_weigh_each_process_by_what_it_did() -> None:
    slow, fast = Sample(10, [1.0] * 10), Sample(990, [0.001] * 10)
    assert quantile([slow, fast], 0.5) == 0.001
    assert quantile([slow, fast], 0.995) == 1.0
    assert quantile([Sample(1, [0.5])], 0.99) == 0.5


def test_a_sample_stays_small_and_counts_everything() -> None:
    sample = Sample()
    for number in range(10_000):
        sample.add(float(number))
    assert sample.count == 10_000
    assert len(sample.seconds) == 4096
    assert 4000 < quantile([sample], 0.5) < 6000


def test_what_fails_is_not_measured() -> None:
    watch = Stopwatch()
    with pytest.raises(TornDocument), watch.measure("read"):
        raise TornDocument
    assert watch.samples == {}


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="this system does not list the descriptors of a process")
def test_a_crew_that_has_ended_leaves_no_file_open(tmp_path: Path) -> None:
    with set_up(HiddenLocation(tmp_path)) as folder:
        before = len(os.listdir("/dev/fd"))
        with Crew(1, 1) as crew:
            crew.work(folder, 0.01, lambda _: None)
        assert len(os.listdir("/dev/fd")) == before
