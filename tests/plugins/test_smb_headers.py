"""The headers of SMB requests and answers, beside those that smbprotocol makes of the same."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from exlab_store_smb import messages
from exlab_store_smb.headers import answers_in, packed, received_header, sent_header
from smbprotocol.header import SMB2HeaderRequest, SMB2HeaderResponse


def _request(message: messages.Message, following: int) -> bytes:
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


def test_what_smbprotocol_asks_of_a_request_is_there() -> None:
    header = sent_header(messages.flush(), 77)
    assert {name: field.get_value() for name, field in header.items()} == {
        "command": 7,
        "message_id": 77,
        "reserved": 0,
    }


def test_the_answers_of_a_compound_are_told_apart() -> None:
    first, second = _answer(7, b"12345678", following=72), _answer(8, b"123")
    found = answers_in(first + second)
    assert [(each.number, each.packet) for each in found] == [(7, first), (8, second)]
    assert {(each.status, each.command, each.credits, each.flags) for each in found} == {(0xC0000034, 5, 3, 0x9)}


def test_an_answer_is_its_status_and_what_follows_its_header() -> None:
    (answer,) = answers_in(_answer(7, b"123"))
    header = received_header(answer)
    assert (header["status"].get_value(), header["data"].get_value()) == (0xC0000034, b"123")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xfeSMB",
        _answer(7, b"")[:63],
        b"\xfdSMB" + bytes(80),
        _answer(7, b"1234", following=8),
        _answer(7, b"1234", following=64),
        _answer(7, b"1234", following=200),
        _answer(7, b"", following=64) + b"\xffSMB" + bytes(60),
        _answer(7, b"", following=64) + struct.pack("<I", 0),
    ],
    ids="empty header_begins header_cut encrypted overlapping short beyond another_protocol rest".split(),
)
def test_a_packet_that_is_not_as_it_should_be_is_left_to_smbprotocol(packet: bytes) -> None:
    assert answers_in(packet) == []
