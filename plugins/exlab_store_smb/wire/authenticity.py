"""The one rule for believing an answer: it belongs to a request, and the session's key proves it [MS-SMB2 3.2.5.1].

`ensure_authentic` decides for every answer, by the facts of the *request*. The answer itself proves nothing: an
attacker on the way can write it. ``docs/reference/smb-wire.md`` has each field that is used.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from smbprotocol.exceptions import SMBException
from smbprotocol.header import Commands, NtStatus, Smb2Flags

from exlab_store_smb.wire.headers import SIGNATURE
from exlab_store_smb.wire.statuses import SESSION_DELETED_OR_EXPIRED

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_smb.wire.headers import Response

__all__ = ["Expected", "Forged", "Protection", "ensure_authentic", "is_interim"]

# Answers to these come before there is a key. The last answer to SESSION_SETUP is verified when the key is made from
# it; NEGOTIATE is vouched for by the keys of SMB 3.1.1, and by VALIDATE_NEGOTIATE_INFO for what is older.
_WITHOUT_KEY: Final = frozenset({Commands.SMB2_NEGOTIATE, Commands.SMB2_SESSION_SETUP})


class Forged(SMBException):  # type: ignore[misc]
    """An answer without proof, or to another request. The connection cannot be used any more."""


class Protection(Enum):
    """The proof that an answer is the server's own."""

    NONE = "none"
    SIGNED = "signed"
    SEALED = "sealed"


class Expected(NamedTuple):
    """The properties that the answer to a request must have; known when the request is sent.

    Attributes:
        command: [MS-SMB2 2.2.1.2 Command].
        session_id: 0 where the server has not named the session yet.
        tree_id: None where the answer names it, or where there is none.
        protection: How the request went, and so how its answer must come.
        credits: How many were asked for, with the whole compound.
    """

    command: int
    session_id: int
    tree_id: int | None
    protection: Protection
    credits: int


def is_interim(answer: Response) -> bool:
    """Whether an answer says no more than that another one will follow [MS-SMB2 3.2.5.1.5].

    Args:
        answer: The answer.
    """
    return bool(answer.status == NtStatus.STATUS_PENDING)


def ensure_authentic(
    answer: Response, expected: Expected, sealed_by: int | None, signature: Callable[[Response], bytes]
) -> bool:
    """Raises for an answer that is not the server's own to this very request.

    Args:
        answer: The answer.
        expected: What it must be.
        sealed_by: The session whose key has opened the packet; None for one that came in clear.
        signature: Gives the signature that the session's key makes of an answer.

    Returns:
        Whether anybody vouches for it. Nobody does for an interim answer of a session that only signs, for what comes
        before there is a key, and for any answer of a session that is not protected at all.

    Raises:
        Forged: It is not.
    """
    if not answer.flags & Smb2Flags.SMB2_FLAGS_SERVER_TO_REDIR:
        raise Forged("a request was sent back as its own answer")
    if answer.command != expected.command:
        raise Forged("the server's answer is to another kind of request")
    if sealed_by is None and expected.protection is not Protection.NONE and answer.status in SESSION_DELETED_OR_EXPIRED:
        # Believed as far as anybody could have cut the connection: what became of the request is to be found out.
        raise Forged("the server says, with nobody vouching for it, that the session has ended")
    if expected.session_id not in {0, answer.session_id}:
        raise Forged("the server's answer is for another session")
    asynchronous = bool(answer.flags & Smb2Flags.SMB2_FLAGS_ASYNC_COMMAND)
    if not asynchronous and expected.tree_id not in {None, answer.tree_id}:
        raise Forged("the server's answer is for another share")
    if is_interim(answer) and not asynchronous:
        raise Forged("the server says that an answer will follow, and not which")
    if sealed_by is not None:
        if sealed_by != expected.session_id:
            raise Forged("the server's answer came with the key of another session")
        return True
    if expected.protection is Protection.SEALED:
        raise Forged("the server's answer is not encrypted, and it was agreed that it is")
    if expected.protection is Protection.NONE or expected.command in _WITHOUT_KEY or is_interim(answer):
        return False
    if not answer.flags & Smb2Flags.SMB2_FLAGS_SIGNED:
        raise Forged("the server's answer is not signed, and it was agreed that it is")
    if answer.packet[SIGNATURE] != signature(answer):
        raise Forged("the server's answer has a wrong signature")
    return True
