"""The headers of SMB requests and answers, beside those that smbprotocol makes of the same."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.headers import answers_in, packed, packed_cancel
from smbprotocol.connection import SMB2CancelRequest
from smbprotocol.header import SMB2HeaderAsync, SMB2HeaderRequest, SMB2HeaderResponse


def _request(message: messages.SmbRequest, following: int) -> bytes:
    header: Any = SMB2HeaderRequest()
    values = {"credit_charge": 2, "command": message.command, "credit_request": 2, "next_command": following}
    values |= {"message_id": 77, "tree_id": 5, "session_id": 1 << 40}
    for name, value in values.items():
        header[name] = value
    header["flags"] = 0x8
    header["data"] = message.pack()
    return bytes(header.pack())


def _answer(number: int, data: bytes, following: int = 0) -> bytes:
    header: Any = SMB2HeaderResponse()
    values = {"status": 0xC0000034, "command": 5, "credit_response": 3, "next_command": following}
    for name, value in (values | {"message_id": number, "tree_id": 5, "session_id": 1 << 40}).items():
        header[name] = value
    header["flags"] = 0x9
    header["data"] = data
    return bytes(header.pack())


def test_a_request_has_the_header_that_smbprotocol_gives_it() -> None:
    message = messages.open_to_read("a.json")
    assert packed(message, 77, 2, 0x8, 5, 1 << 40, last=True) == _request(message, 0)


@pytest.mark.parametrize("name", ["a", "ab", "abc", "abcd"])
def test_a_request_that_another_follows_ends_at_a_multiple_of_eight_bytes(name: str) -> None:
    message = messages.open_to_read(name)
    packet = packed(message, 77, 2, 0x8, 5, 1 << 40, last=False)
    assert len(packet) % 8 == 0
    assert packet.rstrip(b"\0") == _request(message, len(packet)).rstrip(b"\0")


def test_a_request_that_asks_for_more_credits_than_it_costs_says_so() -> None:
    packet = packed(messages.flush(), 77, 1, 0x8, 0, 1 << 40, last=True, wanted=2000)
    header: Any = SMB2HeaderRequest()
    header.unpack(packet)
    assert (header["credit_charge"].get_value(), header["credit_request"].get_value()) == (1, 2000)


@pytest.mark.parametrize("async_id", [None, b"\x07" + bytes(7)], ids=["unnamed", "named"])
def test_a_request_to_give_another_one_up_is_what_smbprotocol_makes(async_id: bytes | None) -> None:
    header: Any = SMB2HeaderRequest() if async_id is None else SMB2HeaderAsync()
    values: dict[str, Any] = {
        "command": 12,
        "message_id": 77,
        "session_id": 1 << 40,
        "data": SMB2CancelRequest().pack(),
    }
    for name, value in values.items():
        header[name] = value
    header["flags"] = 0x8 if async_id is None else 0xA
    if async_id is not None:
        header["async_id"] = async_id
    assert packed_cancel(77, async_id, 0x8, 1 << 40) == bytes(header.pack())


def test_the_answers_of_a_compound_are_told_apart() -> None:
    first, second = _answer(7, b"12345678", following=72), _answer(8, b"123")
    found = answers_in(first + second)
    assert [(each.number, each.packet) for each in found] == [(7, first), (8, second)]
    assert {(each.status, each.command, each.credits, each.flags) for each in found} == {(0xC0000034, 5, 3, 0x9)}


def test_an_answer_says_for_which_session_and_share_it_is_and_what_follows_its_header() -> None:
    (answer,) = answers_in(_answer(7, b"123"))
    assert (answer.session_id, answer.tree_id, answer.body) == (1 << 40, 5, b"123")


def test_an_answer_that_takes_its_time_has_a_name() -> None:
    packet = bytearray(_answer(7, b""))
    packet[32:40] = b"12345678"
    (answer,) = answers_in(bytes(packet))
    assert answer.async_id == b"12345678"


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xfeSMB",
        _answer(7, b"")[:63],
        b"\xfdSMB" + bytes(80),
        _answer(7, b"1234", following=8),
        _answer(7, b"1234", following=68) + _answer(8, b""),
        _answer(7, b"")[:4] + b"\x41" + _answer(7, b"")[5:],
        _answer(7, b"1234", following=64),
        _answer(7, b"1234", following=200),
        _answer(7, b"", following=64) + b"\xffSMB" + bytes(60),
        _answer(7, b"", following=64) + struct.pack("<I", 0),
    ],
    ids=(
        "empty header_begins header_cut encrypted overlapping askew another_size short beyond another_protocol rest"
    ).split(),
)
def test_a_packet_that_is_not_as_it_should_be_has_no_answers(packet: bytes) -> None:
    assert answers_in(packet) == []
