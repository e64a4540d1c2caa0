"""Whoever is on the way forges, reflects, replays, strips and lowers: nothing false is read, acknowledged or locked.

Each attack is tried on each operation, over sessions that are signed, encrypted, or encrypted for the share alone.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from exlab_store_smb.wire.connection import SmbConnection
from hostile_wire import (
    ASYNCHRONOUS,
    CLOSE,
    FROM_SERVER,
    IOCTL,
    NEGOTIATE,
    SESSION_SETUP,
    SET_INFO,
    SIGNED,
    HostileWire,
    command_of,
    header,
    is_sealed,
    parts,
    success,
)
from shared_samba import empty
from waiting import is_told_of_the_loss

from exlab_store import DocumentNotFound, Store, StoreError, WriteOutcomeUnknown, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hostile_wire import Attack, Direction
    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

OLD, NEW, EVIL = b"old " * 100, b"new " * 100, b"EVIL" * 100
TIMEOUT = 3.0

KINDS = {
    "signed 2.1": ("SMB2_10", "lab", {}),
    "signed 3.0": ("SMB3_00", "lab", {}),
    "signed 3.1.1": ("SMB3_11", "lab", {}),
    "encrypted 3.0": ("SMB3_00", "lab", {"encrypt": True}),
    "encrypted 3.1.1": ("SMB3_11", "lab", {"encrypt": True}),
    "encrypted share 3.0": ("SMB3_00", "private", {}),
    "encrypted share 3.1.1": ("SMB3_11", "private", {}),
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], SambaServer]]:
    """A server for each dialect, started when it is first asked for."""
    import sys

    from conftest import lacking

    if sys.platform != "linux":
        pytest.skip("the test server is managed through /proc")
    from samba_server import SambaServer, find_smbd

    if find_smbd() is None:
        lacking("install Debian's package samba: its smbd is the server of the SMB tests")
    running: dict[str, SambaServer] = {}
    with TemporaryDirectory(prefix="exlab-store-samba-") as directory:
        Path(directory).chmod(0o755)

        def server(dialect: str) -> SambaServer:
            if dialect not in running:
                found = SambaServer(Path(directory, dialect), global_settings={"server max protocol": dialect})
                found.start()
                if dialect != "SMB2_10":
                    found.add_share("private", found.root, smb_encrypt="required")
                running[dialect] = found
            return running[dialect]

        yield server
        for each in running.values():
            each.__exit__()


@dataclass
class Lab:
    """A store with somebody on its way."""

    samba: SambaServer
    wire: HostileWire
    share: str
    options: dict[str, Any]
    connections: list[Any] = field(default_factory=list)

    def open(self, **options: Any) -> Store:
        url = self.samba.url(user=False, port=self.wire.port, share=self.share)
        return open_store(url, **self.samba.options, **{"timeout": TIMEOUT} | self.options | options, retry=None)

    def awaited(self) -> list[tuple[int, int]]:
        """MessageId and Command of the requests under way, which whoever counts the messages can guess."""
        return [
            (number, int(request.message["command"].get_value()))
            for number, request in list(self.connections[-1].outstanding_requests.items())
        ]

    @property
    def session_id(self) -> int:
        return int(next(iter(self.connections[-1].session_table), 0))

    @property
    def tree_id(self) -> int:
        sessions = list(self.connections[-1].session_table.values())
        return int(next(iter(sessions[0].tree_connect_table), 0)) if sessions else 0


@pytest.fixture
def lab(
    request: pytest.FixtureRequest, servers: Callable[[str], SambaServer], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    dialect, share, options = KINDS[request.param]
    samba = servers(dialect)
    empty(samba)
    with HostileWire(samba.port) as wire:
        made = Lab(samba, wire, share, options)
        connect = SmbConnection.connect

        def connecting(connection: Any, *args: Any, **kwargs: Any) -> None:
            made.connections.append(connection)
            connect(connection, *args, **kwargs)

        monkeypatch.setattr(SmbConnection, "connect", connecting)
        yield made


OFTEN = ["signed 2.1", "encrypted 3.1.1", "signed 3.1.1", "encrypted share 3.0"]  # the others differ from these least


def each_on_each_kind(name: str, values: Sequence[Any], *, turns: int = 1) -> pytest.MarkDecorator:
    """Each value on each kind of session; by default each value on some of the kinds in turn, so that all occur."""
    return pytest.mark.parametrize(
        ("lab", name),
        [
            pytest.param(
                kind,
                value,
                id=f"{value}-{kind}",
                marks=[] if kind in [OFTEN[(number + turn * 2) % 4] for turn in range(turns)] else pytest.mark.slow,
            )
            for number, value in enumerate(values)
            for kind in KINDS
        ],
        indirect=["lab"],
    )


each_kind = pytest.mark.parametrize(
    "lab",
    [kind if kind in OFTEN[:2] else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS],
    indirect=True,
)


# Attacks on one answer; the request does not reach the server


def _instead(lab: Lab, claimed: int | None, *, flags: int = 0, status: int = 0, grants: int = 1) -> Attack:
    def attack(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
        if direction == "reply":
            return [(direction, message)]
        return [
            (
                "reply",
                header(
                    command=command if claimed is None else claimed,
                    number=number,
                    status=status,
                    flags=FROM_SERVER | flags,
                    session_id=lab.session_id,
                    tree_id=lab.tree_id,
                    grants=grants,
                    signature=b"\x07" * 16 if flags else bytes(16),
                )
                + success(command, EVIL),
            )
            for number, command in lab.awaited()
        ]

    return attack


def _reflected(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
    return [("reply" if direction == "request" else direction, message)]


def _stripped(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
    if direction == "request" or is_sealed(message):
        return [(direction, message)]
    bare = bytearray(message)
    for start, _ in parts(message):
        bare[start + 16] &= ~SIGNED
        bare[start + 48 : start + 64] = bytes(16)
    return [(direction, bytes(bare))]


def _doubled(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
    return [(direction, message)] * (2 if direction == "reply" else 1)


def _from(number: int, attack: Attack) -> Attack:
    """Lets so many requests pass before an attack."""
    left = [number]

    def attacking(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
        if direction == "request":
            left[0] -= 1
        return attack(direction, message) if left[0] < 0 else [(direction, message)]

    return attacking


ATTACKS: dict[str, Callable[[Lab], Attack]] = {
    "says that it is a NEGOTIATE": lambda lab: _instead(lab, NEGOTIATE),
    "says that it is a SESSION_SETUP": lambda lab: _instead(lab, SESSION_SETUP),
    "is not signed": lambda lab: _instead(lab, None),
    "has a wrong signature": lambda lab: _instead(lab, None, flags=SIGNED),
    "grants all credits": lambda lab: _instead(lab, NEGOTIATE, grants=0xFFFF),
    "says that the file is missing": lambda lab: _instead(lab, NEGOTIATE, status=0xC0000034),
    "says that the session has ended": lambda lab: _instead(lab, None, status=0xC0000203),
    "says that the session has expired": lambda lab: _instead(lab, None, status=0xC000035C),
    "is the request itself": lambda _: _reflected,
    "is stripped of its signature": lambda _: _stripped,
    "comes twice": lambda _: _doubled,
}


def _written(operate: Callable[[], object], path: Path, after: bytes | None, before: bytes | None) -> None:
    """A change that is acknowledged has happened; one that failed has not, unless nobody can know."""
    try:
        operate()
    except WriteOutcomeUnknown:
        return
    except StoreError:
        expected = before
    else:
        expected = after
    assert (path.read_bytes() if path.exists() else None) == expected


def _reads(lab: Lab, store: Store) -> None:
    with suppress(StoreError):
        assert store.read_snapshot("a.json").data == OLD


def _writes(lab: Lab, store: Store) -> None:
    _written(lambda: store.atomic_write("a.json", NEW), lab.samba.root / "a.json", NEW, OLD)


def _updates(lab: Lab, store: Store) -> None:
    def change(stored: bytes | None) -> bytes:
        assert stored == OLD
        return NEW

    _written(lambda: store.update("a.json", change), lab.samba.root / "a.json", NEW, OLD)


def _deletes(lab: Lab, store: Store) -> None:
    _written(lambda: store.delete("a.json"), lab.samba.root / "a.json", None, OLD)


def _locks(lab: Lab, store: Store) -> None:
    with suppress(StoreError), store.lock("a.json", timeout=2) as held:
        held.ensure_held()
        # Or an answer too many has ended the connection since; then the holder is told.
        lock_file = lab.samba.root / "a.json.lock"
        assert lab.samba.holder_pids(lock_file, locked=True) or is_told_of_the_loss(held)


def _lists(lab: Lab, store: Store) -> None:
    with suppress(StoreError):
        assert list(store.list_keys()) == ["a.json"]


def _lists_leftovers(lab: Lab, store: Store) -> None:
    left = lab.samba.root / "a.json.tmp.1.0123456789abcdef"
    left.write_bytes(OLD)
    try:
        with suppress(StoreError):
            assert [(found.name, found.size) for found in store.list_leftovers()][:1] == [(left.name, len(OLD))]
    finally:
        left.unlink()


OPERATIONS = [_reads, _lists, _lists_leftovers, _locks, _writes, _updates, _deletes]


@each_on_each_kind("attack", list(ATTACKS))
def test_an_answer_is_not_believed_that(lab: Lab, attack: str) -> None:
    for operate in OPERATIONS:
        (lab.samba.root / "a.json").write_bytes(OLD)
        lab.wire.attack = None
        with lab.open() as store:
            lab.wire.once(ATTACKS[attack](lab))
            operate(lab, store)
        for left in lab.samba.root.glob("*.tmp.*"):
            left.unlink()
        (lab.samba.root / "a.json.lock").unlink(missing_ok=True)


@each_on_each_kind("attack", ["says that it is a NEGOTIATE", "is the request itself", "is not signed"])
def test_a_store_is_opened_as_it_is_or_not_at_all_when_an_answer(lab: Lab, attack: str) -> None:
    (lab.samba.root / "a.json").write_bytes(OLD)
    for number in range(8):  # NEGOTIATE, SESSION_SETUP twice, TREE_CONNECT, IOCTL, ECHO, and the first questions
        lab.wire.once(_from(number, ATTACKS[attack](lab)))
        with suppress(StoreError), lab.open() as store:
            _reads(lab, store)


@each_kind
def test_an_answer_that_is_promised_for_ever_is_waited_for_until_the_deadline(lab: Lab) -> None:
    with lab.open() as store:
        store.atomic_write("a.json", OLD)
        pending = _instead(lab, None, flags=ASYNCHRONOUS, status=0x103)

        def promise(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
            return pending(direction, message) * 500 if direction == "request" else [(direction, message)]

        lab.wire.attack = promise
        with pytest.raises(StoreError):
            store.read_snapshot("a.json")
        lab.wire.attack = None
        assert store.read_snapshot("a.json").data == OLD


@each_kind
def test_a_break_of_an_oplock_that_nobody_has_asked_for_is_skipped(lab: Lab) -> None:
    def broken(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
        unasked = header(command=18, number=(1 << 64) - 1) + struct.pack("<HBBI16s", 24, 0, 0, 0, bytes(16))
        return [("reply", unasked), (direction, message)] if direction == "request" else [(direction, message)]

    with lab.open() as store:
        store.atomic_write("a.json", OLD)
        lab.wire.attack = broken
        assert store.read_snapshot("a.json").data == OLD
        assert len([each for each in lab.connections if each.alive]) == 1


# The dialect


def _offering(only: int) -> Attack:
    """Takes all dialects but one out of the client's offer."""

    def attack(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
        if direction == "reply" or message[:4] != b"\xfeSMB" or command_of(message) != NEGOTIATE:
            return [(direction, message)]
        changed = bytearray(message)
        struct.pack_into("<H", changed, 64 + 2, 1)  # DialectCount
        struct.pack_into("<QI", changed, 64 + 28, 0, 0)  # no contexts
        struct.pack_into("<H", changed, 64 + 36, only)
        return [(direction, bytes(changed))]

    return attack


@pytest.mark.parametrize(
    ("lab", "only"),
    [
        pytest.param(kind, only, id=f"{kind} to {shown}")
        for kind in ("signed 3.0", "signed 3.1.1", "encrypted share 3.1.1")
        for only, shown in ((0x0202, "2.0.2"), (0x0210, "2.1"), (0x0300, "3.0"))
        if not kind.endswith(shown)
    ],
    indirect=["lab"],
)
@pytest.mark.parametrize("covered", [False, True], ids=["", "and its validation is answered by a forger"])
def test_a_dialect_that_is_lowered_on_the_way_opens_no_store(lab: Lab, only: int, covered: bool) -> None:
    lower = _offering(only)
    unsupported = _instead(lab, NEGOTIATE, status=0xC0000128, flags=SIGNED)

    def attack(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
        if covered and direction == "request" and message[:4] == b"\xfeSMB" and command_of(message) == IOCTL:
            return unsupported(direction, message)
        return lower(direction, message)

    lab.wire.attack = attack
    with pytest.raises(StoreError):
        lab.open().close()


# Requests that are changed on their way


def _flipping(place: float, nth: int) -> Attack:
    """One bit of a request: of what is written, where that can be seen. Nothing passes after it, to be made good."""
    left = [nth]

    def attack(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
        if direction == "reply":
            return [(direction, message)]
        left[0] -= 1
        if left[0] >= 0:
            return [(direction, message)]
        if left[0] < -1:
            raise ConnectionAbortedError
        first = 64 if is_sealed(message) else max(64, message.find(NEW))
        changed = bytearray(message)
        changed[first + int(place * (len(message) - first))] ^= 1
        return [(direction, bytes(changed))]

    return attack


@each_on_each_kind("nth", range(2), turns=2)
def test_one_bit_that_is_flipped_in_a_write_never_empties_the_document(lab: Lab, nth: int) -> None:
    path = lab.samba.root / "a.json"
    path.write_bytes(OLD)
    lab.options = {**lab.options, "timeout": 1.0}
    for place in (0.0, 0.1, 0.5):
        lab.wire.attack = None
        with lab.open() as store:
            lab.wire.attack = _flipping(place, nth)
            with suppress(StoreError):
                store.atomic_write("a.json", NEW)
        assert path.read_bytes() in (OLD, NEW)


def _flipping_a_close() -> Attack:
    """One bit in the first CLOSE of the next compound that renames; what was before it is carried out."""
    left = [1]

    def attack(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
        commands = [] if is_sealed(message) else [(command_of(message, start), start) for start, _ in parts(message)]
        closes = [start for command, start in commands if command == CLOSE]
        if direction == "reply" or not left or not closes or SET_INFO not in dict(commands):
            return [(direction, message)]
        left.pop()
        changed = bytearray(message)
        changed[closes[0] + 70] ^= 1
        return [(direction, bytes(changed))]

    return attack


@pytest.mark.parametrize("lab", ["signed 2.1", "signed 3.1.1"], indirect=True)
def test_nothing_of_a_document_is_left_when_the_answer_to_its_deletion_was_lost(lab: Lab) -> None:
    (lab.samba.root / "a.json").write_bytes(OLD)
    with lab.open() as store:
        lab.wire.attack = _flipping_a_close()
        store.delete("a.json")
        with pytest.raises(DocumentNotFound):
            store.read_snapshot("a.json")
    assert list(lab.samba.root.iterdir()) == []


@pytest.mark.parametrize("lab", ["signed 2.1"], indirect=True)
def test_a_file_that_one_bit_has_kept_open_hinders_no_write(lab: Lab) -> None:
    with lab.open() as store:
        store.atomic_write("a.json", OLD)
        lab.wire.attack = _flipping_a_close()
        store.atomic_write("a.json", NEW)
        assert store.read_snapshot("a.json").data == NEW
        store.atomic_write("a.json", OLD)
