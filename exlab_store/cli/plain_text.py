"""Text from documents, made safe to print: a name in a LIMS must not be able to drive a terminal."""

from __future__ import annotations

import re
import unicodedata

import msgspec

from exlab_store.encodable import encodable

__all__ = ["json_line", "one_line", "sentence"]

_SPACES = re.compile(r"[ \t\r\n\v\f\x85\u2028\u2029]+")

# They reorder what stands around them, so that a text reads as something it is not.
_BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# The encoder escapes those below a space. Line separators end a line for some readers.
_RAW_IN_JSON = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """A text on one line: spaces and line breaks become one space, control characters visible escapes.

    Args:
        text: Anything.
    """
    return "".join(map(_visible, _SPACES.sub(" ", text))).strip()


def _visible(character: str) -> str:
    # Cs: half of a surrogate pair, as the system gives it for a name that is not UTF-8, cannot be encoded.
    if character not in _BIDIRECTIONAL and unicodedata.category(character) not in {"Cc", "Cs"}:
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def json_line(value: object) -> str:
    r"""A value as a line of JSON that is safe to print: control characters are escaped, which means the same.

    Args:
        value: Structs, dicts, lists and scalars. In their texts, half of a surrogate pair becomes the text ``\udcfc``:
            few readers of JSON would take it.
    """
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(encodable(msgspec.to_builtins(value)))
    return _RAW_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", encoded.decode())


def sentence(text: str) -> str:
    """A text as one printable sentence: on one line, with a full stop.

    Args:
        text: Anything.
    """
    line = one_line(text)
    return line if line.endswith((".", "!", "?")) else f"{line}."
