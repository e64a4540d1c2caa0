"""The one check of stored bytes, for readers and for writers: are they a document?

Two checks would differ one day: a writer would then replace, as corrupt, a document that every reader accepts.
"""

from __future__ import annotations

import re

import msgspec

from exlab_store.document_errors import DocumentInvalid

__all__ = [
    "BYTE_ORDER_MARK",
    "MAX_NESTING",
    "UNDECODABLE",
    "ensure_mergeable",
    "ensure_shallow",
    "invalid",
    "outermost",
    "reason",
    "unmarked",
]

MAX_NESTING = 200
"""Objects and arrays within each other. Without a bound of our own, Python's stack would be the bound: a writer that
is called from deeper down than a reader would refuse what the reader accepts."""

# What msgspec raises for bytes that are no document.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_UTF8 = "Invalid UTF-8 encoded string"  # msgspec from 0.23 on, whose older releases raise UnicodeDecodeError
_HINT = "Repair it, or remove it and write it again."

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_strings = re.compile(_STRING, re.DOTALL)
# Each string is taken as a whole: a search for names alone would begin at the end of a value, and read `"],":` as one.
_strings_and_colons = re.compile(rb"(" + _STRING + rb")([ \t\r\n]*:)?", re.DOTALL)
_tokens = re.compile(_STRING + rb"|[\[\]{},]", re.DOTALL)
_position = re.compile(r"\(byte (\d+)\)")
_OPENING = frozenset({b"{", b"["})
_CLOSING = frozenset({b"}", b"]"})
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE = bytes.maketrans(b"{}", b"[]")


def unmarked(data: bytes) -> bytes:
    """The bytes without a byte order mark at their beginning, which some editors put there [RFC 8259, 8.1].

    Spaces stand in its place, so that positions in messages are those of the file.

    Args:
        data: As stored.
    """
    return b"   " + data[3:] if data.startswith(BYTE_ORDER_MARK) else data


def ensure_mergeable(data: bytes) -> None:
    """Refuses what the typed decoder accepts and a writer could not keep.

    The typed decoder does not look into unknown fields. A value there may hold bytes that are not UTF-8: it is kept to
    the letter. A name may not: nobody could say which field it is.

    Args:
        data: JSON that the typed decoder accepts, without a mark.

    Raises:
        UnicodeDecodeError: The name of a field is not UTF-8.
    """
    try:
        data.decode()
    except UnicodeDecodeError:
        for found in _strings_and_colons.finditer(data):
            text, colon = found.groups()
            if colon:
                text.decode()


def ensure_shallow(data: bytes) -> None:
    """Refuses what is nested more than `MAX_NESTING` deep.

    Args:
        data: What may be JSON.

    Raises:
        DocumentInvalid: It is.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_NESTING:
        return
    # Taking the strings out is the slow part (16 ms in 0.7 MB), and hardly any has a bracket that is not closed in it.
    if _nests(data) and _nests(_strings.sub(b"", data)):
        raise DocumentInvalid(
            f"the document is not valid: it is nested too deeply, more than {MAX_NESTING} levels", hint=_HINT
        )


def outermost(data: bytes) -> bytes:
    """An object without what is in the objects and arrays in it: any decoder reads that, however deep they nest.

    Args:
        data: What may be JSON.

    Returns:
        What is no JSON, where something is not closed.
    """
    kept: list[bytes] = []
    level = start = 0
    for token in _tokens.finditer(data):
        if token[0] in _OPENING:
            level += 1
            if level == 2:
                kept.append(data[start : token.end()])
        elif token[0] in _CLOSING:
            if level == 2:
                start = token.start()
            level -= 1
    return b"".join(kept) + data[start:] if level == 0 else b""


def _nests(data: bytes) -> bool:
    left = data.translate(_SQUARE, _NO_BRACKETS)
    for _ in range(MAX_NESTING):
        if not left:
            break
        left = left.replace(b"[]", b"")  # the innermost level, and no other
    return bool(left)


def invalid(error: Exception, data: bytes) -> DocumentInvalid:
    """The error for bytes that are no document; it names the byte, where one is to blame, and its place.

    Args:
        error: What the decoder raised: one of `UNDECODABLE`.
        data: What it was given.
    """
    return DocumentInvalid(f"the document is not valid: {reason(error, data)}", hint=_HINT)


def reason(error: Exception, data: bytes) -> str:
    """What is wrong with the bytes, and where.

    Args:
        error: What the decoder raised: one of `UNDECODABLE`.
        data: What it was given.
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError) or str(error) == _NOT_UTF8:
        position = _not_utf8_at(error, data)
        byte = f"the byte 0x{data[position]:02X} at position {position}" if position >= 0 else "a byte"
        return f"{byte} is not UTF-8 - at `{_path_of(data, position)}`"
    found = _position.search(str(error))
    return str(error) if found is None else f"{error} - at `{_path_of(data, int(found[1]))}`"


def _not_utf8_at(error: Exception, data: bytes) -> int:
    """The position of a byte that is not UTF-8; the first one, where the decoder does not say which."""
    if isinstance(error, UnicodeDecodeError):
        # The decoder's positions count from the beginning of the text that it was about.
        start = data.find(error.object)
        if start >= 0:
            return error.start + start
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return -1


def _path_of(data: bytes, position: int) -> str:
    """The place in a document that a position belongs to, as msgspec writes it: ``$.rooms[2].name``."""
    path: list[str | int] = []
    for token in _tokens.finditer(data):
        if token.end() > position:
            break
        found = token[0]
        if found == b"{":
            path.append("")
        elif found == b"[":
            path.append(0)
        elif not path:
            continue
        elif found in b"]}":
            path.pop()
        elif found == b",":
            last = path[-1]
            path[-1] = last + 1 if isinstance(last, int) else ""
        elif path[-1] == "":
            path[-1] = found[1:-1].decode(errors="backslashreplace")
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path if step != "")
