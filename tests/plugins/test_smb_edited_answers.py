"""Answers of a real server that are edited on a signed connection."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hostile_wire import EditedWire, command_of, parts, unchanged

from exlab_store import (
    BackendUnavailable,
    Store,
    StoreError,
    WriteOutcomeUnknown,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

_READ, _CREATE, _FLUSH, _SET_INFO = 8, 5, 7, 17
_SIGNED = 0x8


def _status(message: bytearray, start: int) -> int:
    return int(struct.unpack_from("<I", message, start + 8)[0])


@pytest.fixture
def wire_edited(samba: SambaServer) -> Iterator[EditedWire]:
    samba.change_global(server_smb_encrypt="off")  # what is encrypted cannot be edited
    with EditedWire(samba.port) as wire:
        yield wire


@pytest.fixture
def signed(samba: SambaServer, wire_edited: EditedWire) -> Iterator[Store]:
    """A store with little patience, over a wire that has been honest so far."""
    with open_store(samba.url(port=wire_edited.port), password=samba.password, timeout=1.5) as store:
        store.atomic_write("d.json", b"what is stored")
        yield store


def _strip_signatures(message: bytearray) -> bool:
    for start, _ in parts(message):
        if command_of(message, start) > 1:
            message[start + 16] &= ~_SIGNED
            message[start + 48 : start + 64] = bytes(16)
    return True


def _alter_data(message: bytearray) -> bool:
    for start, _ in parts(message):
        if command_of(message, start) == _READ and _status(message, start) == 0:
            message[start + 80] ^= 1
    return True


def _alter_data_without_signature(message: bytearray) -> bool:
    return _alter_data(message) and _strip_signatures(message)


def _claim_absence(message: bytearray) -> bool:
    if command_of(message, 0) == _CREATE:
        struct.pack_into("<I", message, 8, 0xC0000034)
    return True


_FORGERIES = [_strip_signatures, _alter_data, _alter_data_without_signature]


@pytest.mark.parametrize("forgery", [*_FORGERIES, _claim_absence])
def test_an_answer_that_was_altered_on_the_wire_is_not_believed(
    signed: Store, wire_edited: EditedWire, forgery: Callable[[bytearray], bool]
) -> None:
    wire_edited.edit = forgery
    with pytest.raises(BackendUnavailable):
        signed.read_snapshot("d.json")


@pytest.mark.parametrize("forgery", [*_FORGERIES, _claim_absence])
def test_a_store_works_again_when_the_wire_is_honest_again(
    signed: Store, wire_edited: EditedWire, forgery: Callable[[bytearray], bool]
) -> None:
    wire_edited.edit = forgery
    with suppress(StoreError):
        signed.read_snapshot("d.json")
    wire_edited.edit = unchanged
    assert signed.read_snapshot("d.json").data == b"what is stored"


def test_a_write_whose_acknowledgement_was_forged_has_an_unknown_outcome(
    signed: Store, wire_edited: EditedWire
) -> None:
    def strip_from_the_rename_on(message: bytearray) -> bool:
        if command_of(message, 0) == _SET_INFO:
            wire_edited.edit = _strip_signatures
        return wire_edited.edit is not _strip_signatures or _strip_signatures(message)

    wire_edited.edit = strip_from_the_rename_on
    with pytest.raises(WriteOutcomeUnknown):
        signed.atomic_write("d.json", b"new")


def test_a_write_whose_data_was_acknowledged_by_a_forger_has_not_happened(
    signed: Store, wire_edited: EditedWire, samba: SambaServer
) -> None:
    wire_edited.edit = _strip_signatures
    with pytest.raises(BackendUnavailable):
        signed.atomic_write("d.json", b"new")
    assert (samba.root / "d.json").read_bytes() == b"what is stored"


def test_a_lock_whose_grant_was_forged_is_not_held(signed: Store, wire_edited: EditedWire) -> None:
    wire_edited.edit = _strip_signatures
    with pytest.raises(StoreError):
        signed.lock("d.json", timeout=1)
