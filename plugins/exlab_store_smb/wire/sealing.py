"""Encrypted messages as bytes: the transform header and the authenticated encryption behind it [MS-SMB2 2.2.41].

With smbprotocol's structures an encrypted message costs more in packing than in encrypting.
"""

from __future__ import annotations

import itertools
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
from smbprotocol.connection import Ciphers

__all__ = ["SEALED", "BrokenSealError", "Sealing"]

SEALED: Final = b"\xfdSMB"
"""How an encrypted message begins."""

# ProtocolId, Signature, Nonce, OriginalMessageSize, Reserved, Flags, SessionId.
_HEADER: Final = struct.Struct("<4s16s16sIHHQ")
_VOUCHED_FOR: Final = 20  # from the nonce to its end, the header is authenticated too
_ENCRYPTED: Final = 1
_TAG: Final = 16


class BrokenSealError(Exception):
    """An encrypted message was changed on its way, or is not one of this session."""


class Sealing:
    """Encrypts and decrypts the messages of one session.

    Args:
        session_id: The session.
        to_server: The key for what is sent.
        to_client: The key for what is received.
        cipher: What was negotiated [MS-SMB2 2.2.3.1.2 Ciphers].
    """

    def __init__(self, session_id: int, to_server: bytes, to_client: bytes, cipher: int) -> None:
        self.session_id = session_id
        kind = AESGCM if cipher in {Ciphers.AES_128_GCM, Ciphers.AES_256_GCM} else AESCCM
        self._nonce_size = 12 if kind is AESGCM else 11
        self._to_server, self._to_client = kind(to_server), kind(to_client)
        # A nonce that is used twice under one key gives both messages away [SP 800-38D 8]. The key is this session's
        # alone, so that a counter never repeats one; random ones may.
        self._sent = itertools.count()

    def seal(self, data: bytes) -> bytes:
        """Encrypts a message, or a compound as a whole.

        Args:
            data: With its headers.
        """
        nonce = next(self._sent).to_bytes(self._nonce_size, "little")
        header = _HEADER.pack(SEALED, bytes(16), nonce, len(data), 0, _ENCRYPTED, self.session_id)
        sealed = self._to_server.encrypt(nonce, data, header[_VOUCHED_FOR:])
        return b"".join((header[:4], sealed[-_TAG:], header[_VOUCHED_FOR:], sealed[:-_TAG]))

    def open(self, packet: bytes) -> bytes:
        """Decrypts a message.

        Args:
            packet: As received; it begins with `SEALED`.

        Raises:
            BrokenSealError: It was changed on its way, is malformed, or is another session's.
        """
        if len(packet) < _HEADER.size:
            raise BrokenSealError("an encrypted answer is cut off")
        _, tag, nonce, size, _, flags, session_id = _HEADER.unpack_from(packet)
        if flags != _ENCRYPTED or size != len(packet) - _HEADER.size:
            raise BrokenSealError("the header of an encrypted answer makes no sense")
        if session_id != self.session_id:
            raise BrokenSealError("an encrypted answer is for another session")
        try:
            return self._to_client.decrypt(
                nonce[: self._nonce_size], packet[_HEADER.size :] + tag, packet[_VOUCHED_FOR : _HEADER.size]
            )
        except InvalidTag:
            raise BrokenSealError("an encrypted answer was changed on its way") from None
