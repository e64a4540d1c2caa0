"""The code with which another machine joins: a person reads it on one screen and types it on another."""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from exlab_store.doctor.folder import FOLDER
from exlab_store.errors import StoreError

__all__ = ["Code", "InvalidCode", "new_code", "parsed"]

# Crockford's: without I, L, O and U, and what is typed for them is understood.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans("ILO", "110")
_RANDOM = 15  # 75 bits: nobody finds the code that belongs to the name of a folder
_GROUP = 4


class InvalidCode(StoreError, ValueError):
    """A text is no code, or was mistyped."""

    code = "invalid_code"
    default_hint = (
        "Type it as the other machine shows it: 16 letters and digits. Capitals, dashes and spaces may differ."
    )


class Code(msgspec.Struct, frozen=True):
    """The code of one examination.

    Attributes:
        text: As it is shown: ``7KQF-2MXD-9TRA-H4WC``.
        folder: The key of the doctor's folder. It does not give the code away.
        key: What the two sides sign their messages with.
    """

    text: str
    folder: str
    key: bytes


def new_code() -> Code:
    """A code that nobody can guess."""
    return _of("".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM)))


def parsed(text: str) -> Code:
    """The code that somebody has typed.

    Args:
        text: In capitals or not, with dashes and spaces anywhere.

    Raises:
        InvalidCode: It is none: a letter is missing, or is another one.
    """
    typed = "".join(text.replace("-", " ").split()).upper().translate(_MISREAD)
    random = typed[:_RANDOM]
    if len(typed) != _RANDOM + 1 or set(typed) - set(_ALPHABET) or typed[_RANDOM] != _check(random):
        raise InvalidCode("this is not the code of an examination, or it is mistyped")
    return _of(random)


def _check(random: str) -> str:
    # The weights are odd, so that every letter that is taken for another one changes the sum, modulo 32.
    weighted = sum((2 * place + 1) * _ALPHABET.index(letter) for place, letter in enumerate(random))
    return _ALPHABET[weighted % len(_ALPHABET)]


def _of(random: str) -> Code:
    whole = random + _check(random)
    text = "-".join(whole[start : start + _GROUP] for start in range(0, len(whole), _GROUP))
    return Code(text, FOLDER + _digest("folder", random).hex()[:16], _digest("key", random))


def _digest(use: str, random: str) -> bytes:
    return hashlib.sha256(f"exlab-store doctor {use} {random}".encode()).digest()
