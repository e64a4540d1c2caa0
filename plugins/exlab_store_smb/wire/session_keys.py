"""The use of a session's keys: signing, verifying, encrypting, decrypting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smbprotocol.connection import Ciphers, Dialects, SigningAlgorithms
from smbprotocol.header import Commands

from exlab_store_smb.wire.authenticity import Forged, Protection
from exlab_store_smb.wire.headers import SIGNATURE
from exlab_store_smb.wire.sealing import SEALED, BrokenSealError, Sealing
from exlab_store_smb.wire.signing import signature_of

if TYPE_CHECKING:
    from exlab_store_smb.wire.headers import Response

__all__ = ["SessionKeys"]


class SessionKeys:
    """The keys that smbprotocol has made.

    Args:
        connection: smbprotocol's, with its sessions and what was negotiated.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._sealings: dict[int, Sealing] = {}

    def can_seal(self, session: Any) -> bool:
        """Whether a message can be encrypted, be its session encrypted or only signed [MS-SMB2 3.2.4.1.8].

        Args:
            session: Of the connection.
        """
        return bool(self._connection.supports_encryption and session.encryption_key and session.decryption_key)

    def protection(self, session: Any, tree: Any, *, signed: bool, sealed: bool) -> Protection:
        """How a request is sent, and so how its answer must come.

        Args:
            session: Its session; None before there is one.
            tree: Its share, or None.
            signed: Sign it where there is a key, even where it was not agreed.
            sealed: Encrypt it, even where it was not agreed.

        Raises:
            Forged: It is to be encrypted, and cannot be.
        """
        if session is None:
            return Protection.NONE
        if sealed or session.encrypt_data or (tree and tree.encrypt_data):
            if not self.can_seal(session):
                raise Forged("the session cannot be encrypted")
            return Protection.SEALED
        # Guests have no key.
        return Protection.SIGNED if session.signing_key and (signed or session.signing_required) else Protection.NONE

    def sign(self, session: Any, packet: bytes, number: int, command: int) -> bytes:
        """A request with its signature.

        Args:
            session: Its session.
            packet: The request, whose flags say that it is signed.
            number: Its MessageId.
            command: Its Command.
        """
        signature = self._signature(session, packet, number, command, response=False)
        return packet[: SIGNATURE.start] + signature + packet[SIGNATURE.stop :]

    def signature(self, answer: Response) -> bytes:
        """The signature that an answer must have.

        Args:
            answer: The answer.

        Raises:
            Forged: There is no such session, or it has no key.
        """
        session = self._connection.session_table.get(answer.session_id)
        if session is None or not session.signing_key:
            raise Forged("the server's answer is for a session that there is not")
        return self._signature(session, answer.packet, answer.number, answer.command, response=True)

    def _signature(self, session: Any, packet: bytes, number: int, command: int, *, response: bool) -> bytes:
        connection = self._connection
        if connection.dialect < Dialects.SMB_3_0_0:
            algorithm = SigningAlgorithms.HMAC_SHA256
        elif connection.dialect < Dialects.SMB_3_1_1 or connection.signing_algorithm_id is None:
            algorithm = SigningAlgorithms.AES_CMAC
        else:
            algorithm = connection.signing_algorithm_id
        sender = (1 if response else 0) | (2 if command == Commands.SMB2_CANCEL else 0)
        nonce = number.to_bytes(8, "little") + sender.to_bytes(4, "little")
        return signature_of(packet, session.signing_key, algorithm, nonce)

    def seal(self, session: Any, data: bytes) -> bytes:
        """Encrypts a packet.

        Args:
            session: Its session.
            data: The packet.
        """
        return self._sealing(session).seal(data)

    def open(self, packet: bytes) -> tuple[int | None, bytes]:
        """Decrypts a packet, if it is encrypted.

        Args:
            packet: As received.

        Returns:
            The session whose key has opened it, or None for one that came in clear; and the packet.

        Raises:
            Forged: Nobody vouches for it.
        """
        if packet[: len(SEALED)] != SEALED:
            return None, packet
        session_id = int.from_bytes(packet[44:52], "little")
        session = self._connection.session_table.get(session_id)
        if session is None or not self.can_seal(session):
            raise Forged("an encrypted answer is for a session that there is not")
        try:
            return session_id, self._sealing(session).open(packet)
        except BrokenSealError as error:
            raise Forged(str(error)) from error

    def ensure_granted(self, session: Any, answer: Response | None) -> None:
        """Verifies the last answer to SESSION_SETUP, which has the session's flags in it.

        A server of SMB 3 signs it whatever else it signs [MS-SMB2 3.3.5.5.3]; smbprotocol looks only where everything
        is signed, and so not where everything is encrypted.

        Args:
            session: Of the connection.
            answer: The answer.

        Raises:
            Forged: It has a wrong signature, or none.
        """
        if not session.signing_key or (self._connection.dialect < Dialects.SMB_3_0_0 and not session.signing_required):
            return
        if answer is None or answer.packet[SIGNATURE] != self.signature(answer):
            raise Forged("nobody vouches for the session that the server has granted")

    def _sealing(self, session: Any) -> Sealing:
        found = self._sealings.get(session.session_id)
        if found is None:
            connection = self._connection
            cipher = connection.cipher_id if connection.dialect >= Dialects.SMB_3_1_1 else Ciphers.AES_128_CCM
            made = Sealing(session.session_id, session.encryption_key, session.decryption_key, cipher)
            found = self._sealings.setdefault(session.session_id, made)  # two would count the same nonces
        return found
