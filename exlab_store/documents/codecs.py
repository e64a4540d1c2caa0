"""Documents that are stored as YAML or TOML, by the same rules as JSON: each is JSON in another spelling.

What is stored is turned into JSON, which is checked, migrated and merged like any; the result is written into the
stored text, so that what a person has written between the values stays.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from exlab_store.errors import ConfigError
from exlab_store.first_imports import import_whole
from exlab_store.installing import how_to_install

__all__ = ["CodecName", "TextCodec", "codec_of"]

CodecName: TypeAlias = Literal["json", "yaml", "toml"]
"""How the documents of a kind are stored."""


class TextCodec(Protocol):
    """Between JSON and another spelling of it."""

    def to_json(self, data: bytes) -> bytes:
        """The JSON of a stored text.

        Args:
            data: As stored, without a byte order mark.

        Raises:
            DocumentInvalid: It is no such text, or has what JSON has not.
        """
        ...

    def from_json(self, data: bytes, stored: bytes | None) -> bytes:
        """The text of a document.

        Args:
            data: JSON: an object.
            stored: The text that it replaces, whose comments are kept; None for none.

        Raises:
            DocumentInvalid: It cannot be written so.
        """
        ...


def codec_of(name: CodecName) -> TextCodec | None:
    """The codec of this name; None for JSON, which needs none.

    Raises:
        ValueError: There is no such codec.
        ConfigError: The extra that it needs is not installed.
    """
    if name == "json":
        return None
    try:
        if name == "yaml":
            import_whole("exlab_store.documents.yaml_text")
            from exlab_store.documents.yaml_text import YamlText

            return YamlText()
        if name == "toml":
            import_whole("exlab_store.documents.toml_text")
            from exlab_store.documents.toml_text import TomlText

            return TomlText()
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"documents in {name.upper()} need what is not installed: {error.name}",
            field="codec",
            hint=how_to_install(f"exlab-store[{name}]"),
        ) from error
    raise ValueError(f"codec is 'json', 'yaml' or 'toml', not {name!r}")
