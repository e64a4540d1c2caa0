"""The signature of a message, computed where the message lies [MS-SMB2 3.1.4.1, 3.1.5.1]."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.cmac import CMAC
from smbprotocol.connection import SigningAlgorithms

__all__ = ["signature_of"]

_BEFORE: Final = slice(0, 48)
_EMPTY: Final = bytes(16)  # what stands at the signature's place while it is computed
_BEHIND: Final = slice(64, None)


def signature_of(packet: bytes, key: bytes, algorithm: int, nonce: bytes) -> bytes:
    """The signature of a message. smbprotocol's copies the message twice, which is half of the memory of a read.

    Args:
        packet: One message with its header.
        key: The session's key for signing.
        algorithm: [MS-SMB2 2.2.3.1.7].
        nonce: For AES-GMAC: the MessageId, and 4 bytes that name the sender.
    """
    view = memoryview(packet)
    parts = (view[_BEFORE], _EMPTY, view[_BEHIND])
    if algorithm == SigningAlgorithms.AES_GMAC:
        sealing = Cipher(AES(key), GCM(nonce)).encryptor()
        for part in parts:
            sealing.authenticate_additional_data(part)
        sealing.finalize()
        return sealing.tag
    if algorithm == SigningAlgorithms.AES_CMAC:
        cmac = CMAC(AES(key))
        for part in parts:
            cmac.update(part)  # type: ignore[arg-type]
        return cmac.finalize()
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        mac.update(part)
    return mac.digest()[:16]
