"""Answers of any shape: parsers raise one error of their own, and what is mutated on its way harms nothing."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.headers import answers_in
from exlab_store_smb.wire.messages import MalformedAnswer, Reply, SmbRequest
from exlab_store_smb.wire.sealing import SEALED, BrokenSealError, Sealing
from exlab_store_smb.wire.shapes import ensure_well_formed
from hostile_wire import HostileWire, success
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exlab_store import Store, StoreError, WriteOutcomeUnknown, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostile_wire import Direction
    from samba_server import SambaServer

_PARSERS: list[tuple[SmbRequest, list[Callable[[Reply], object]]]] = [
    (
        messages.open_to_ask("a"),
        [
            messages.file_id_of,
            messages.size_of,
            messages.created_at,
            messages.changed_at,
            messages.is_directory,
            messages.is_read_only,
        ],
    ),
    (messages.read(0, 100), [messages.read_bytes]),
    (messages.write(0, b"x" * 100), [messages.written_count]),
    (messages.query_directory(65536), [messages.output_of]),
    (messages.query_room(), [messages.room_of]),
    (messages.query_links(), [messages.links_of]),
    (messages.close(), []),
    (messages.flush(), []),
    (messages.rename("a"), []),
    (messages.lock_byte_0(wait=False), []),
]
_number = st.integers(0, 2**16 - 1)


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[int, bytes]:
    """A request, and what might be an answer to it: anything, or a good one with some bytes changed and cut off."""
    which = draw(st.integers(0, len(_PARSERS) - 1))
    if draw(st.booleans()):
        return which, draw(st.binary(max_size=200))
    body = bytearray(success(_PARSERS[which][0].command, draw(st.binary(max_size=100))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body) - 1))
        body[at] = draw(st.integers(0, 255))
    return which, bytes(body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body)


def _check_a_body(found: tuple[int, bytes]) -> None:
    asked, parsers = _PARSERS[found[0]]
    reply = Reply(0, found[1])
    try:
        ensure_well_formed(asked, reply.body)
    except MalformedAnswer:
        for parse in parsers:  # they raise the same for any answer
            try:
                parse(reply)
            except MalformedAnswer:
                pass
        return
    for parse in parsers:
        parsed = parse(reply)
        assert not isinstance(parsed, bytes) or len(parsed) <= max(16, asked.payload)


def _check_a_packet(packet: bytes) -> None:
    answers = answers_in(packet)
    assert sum(len(answer.packet) for answer in answers) in {0, len(packet)}
    with pytest.raises(BrokenSealError):
        Sealing(7, bytes(16), bytes(16), 2).open(SEALED + packet)


_packets = st.lists(
    st.builds(
        lambda command, following, body: (
            struct.pack("<4sHHIHHIIQIIQ16x", b"\xfeSMB", 64, 1, 0, command, 1, 1, following, 5, 0, 7, 9) + body
        ),
        _number,
        st.sampled_from([0, 64, 72, 80, 128]) | _number,
        st.binary(max_size=64),
    )
    | st.binary(max_size=80),
    max_size=4,
).map(b"".join)

_often = settings(max_examples=2500, deadline=None, suppress_health_check=list(HealthCheck))
_very_often = settings(max_examples=100_000, deadline=None, suppress_health_check=list(HealthCheck))


@_often
@given(_bodies())
@example((1, struct.pack("<HBBIII", 17, 0, 0, 4, 0, 0) + b"data"))  # inside the header
@example((1, struct.pack("<HBBIII", 17, 64, 0, 4, 0, 0) + b"data"))  # inside the fixed part
@example((1, struct.pack("<HBBIII", 17, 80, 0, 5, 0, 0) + b"data"))  # more than there is
@example((1, struct.pack("<HBBIII", 17, 80, 0, 101, 0, 0) + bytes(101)))  # more than was asked for
def test_the_body_of_an_answer_is_read_or_refused_with_one_error(found: tuple[int, bytes]) -> None:
    _check_a_body(found)


@_often
@given(_packets)
def test_a_packet_is_taken_apart_or_refused(packet: bytes) -> None:
    _check_a_packet(packet)


@pytest.mark.slow
@_very_often
@given(_bodies())
def test_a_hundred_thousand_bodies_are_read_or_refused_with_one_error(found: tuple[int, bytes]) -> None:
    _check_a_body(found)


@pytest.mark.slow
@_very_often
@given(_packets)
def test_a_hundred_thousand_packets_are_taken_apart_or_refused(packet: bytes) -> None:
    _check_a_packet(packet)


@pytest.mark.parametrize(
    ("asked", "body"),
    [
        (messages.open_to_ask("a"), success(5, b"")[:87]),
        (messages.open_to_ask("a"), success(5, b"")[:64] + b"\xff" * 16 + bytes(8)),
        (messages.read(0, 4), struct.pack("<HBBIII", 17, 64, 0, 4, 0, 0) + b"data"),
        (messages.read(0, 4), struct.pack("<HBBIII", 17, 80, 0, 4, 0, 0) + b"dat"),
        (messages.read(0, 4), struct.pack("<HBBIII", 17, 80, 0, 5, 0, 0) + b"data5"),
        (messages.write(0, b"data"), success(9, b"data5")),
        (messages.query_room(), struct.pack("<HHI", 9, 72, 31) + bytes(31)),
        (messages.query_directory(64), struct.pack("<HHI", 9, 72, 65) + bytes(65)),
        (messages.query_directory(64), struct.pack("<HHI", 9, 64, 8) + bytes(8)),
        (messages.close(), struct.pack("<HH", 4, 0)),
    ],
    ids=(
        "short_create no_file data_in_the_fixed_part data_cut_off more_read_than_asked_for more_written_than_sent "
        "short_information more_names_than_asked_for names_in_the_fixed_part another_answer"
    ).split(),
)
def test_an_answer_that_cannot_be_one_to_its_request_is_refused(asked: SmbRequest, body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        ensure_well_formed(asked, body)


# Mutations on the wire


class Mutating:
    """Changes one answer at random, in one to four bytes, or cuts it short."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.left = self.random.randrange(4)

    def __call__(self, direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
        if direction == "request":
            return [(direction, message)]
        self.left -= 1
        if self.left >= 0:
            return [(direction, message)]
        changed = bytearray(message)
        for _ in range(self.random.randint(1, 4)):
            changed[self.random.randrange(len(changed))] = self.random.randrange(256)
        if self.random.random() < 0.1:
            del changed[self.random.randrange(len(changed)) :]
        return [(direction, bytes(changed))]


def _operate(store: Store, path: Path, seed: int) -> None:
    """One operation, with the wrong outcomes that there may be."""
    old, new = b"old %d" % seed, b"new %d" % seed
    kind = seed % 6
    before, after = old, new
    try:
        if kind == 0:
            assert store.read_snapshot(path.name).data == old
            after = old
        elif kind == 1:
            assert "a.json" in list(store.list_keys())
            after = old
        elif kind == 2:
            store.lock(path.name, timeout=1).release()
            after = old
        elif kind == 3:
            store.atomic_write(path.name, new)
        elif kind == 4:
            store.update(path.name, lambda _: new)
        else:
            store.delete(path.name)
            after = b""
    except WriteOutcomeUnknown:
        return
    except StoreError:
        after = before
    assert (path.read_bytes() if path.exists() else b"") == after


def _mutate(samba: SambaServer, seeds: range, capfd: pytest.CaptureFixture[str], *, encrypt: bool | None) -> None:
    path = samba.root / "a.json"
    with HostileWire(samba.port) as wire:
        for seed in seeds:
            wire.attack = None
            path.write_bytes(b"old %d" % seed)
            began = time.monotonic()
            connecting = seed % 4 == 0
            try:
                if connecting:  # also what comes before there is a key
                    wire.once(Mutating(seed))
                with open_store(
                    samba.url(user=False, port=wire.port), **samba.options, encrypt=encrypt, timeout=4, retry=None
                ) as store:
                    if not connecting:
                        wire.once(Mutating(seed))
                    _operate(store, path, seed)
            except StoreError:
                pass
            assert time.monotonic() - began < 30, f"seed {seed}"
            for left in samba.root.glob("a.json.*"):
                left.unlink(missing_ok=True)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.one_interpreter
@pytest.mark.parametrize("encrypt", [None, True], ids=["signed", "encrypted"])
def test_forty_mutated_answers_harm_nothing(
    samba: SambaServer, capfd: pytest.CaptureFixture[str], encrypt: bool | None
) -> None:
    _mutate(samba, range(40), capfd, encrypt=encrypt)


@pytest.mark.slow
@pytest.mark.parametrize("encrypt", [None, True], ids=["signed", "encrypted"])
def test_ten_thousand_mutated_answers_harm_nothing(
    samba: SambaServer, capfd: pytest.CaptureFixture[str], encrypt: bool | None
) -> None:
    _mutate(samba, range(10_000), capfd, encrypt=encrypt)
