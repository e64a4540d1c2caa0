"""The words for a setting that a configuration may not have: the file, the key, and what was expected there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from exlab_store.errors import ConfigError, LocationError
from exlab_store.guarantees import ConditionalWrite, Fresh, Guarantees, LockRelease, LockScope, Watch
from exlab_store.opening.secrets import SecretSource
from exlab_store.opening.store_entry import StoreEntry

if TYPE_CHECKING:
    import msgspec

__all__ = ["refused_setting"]

# What was expected, where msgspec says only that something else was found.
_FIELDS: Final = {
    "": StoreEntry.__struct_fields__,
    ".password": SecretSource.__struct_fields__,
    ".require": Guarantees.__struct_fields__,
}
_CHOICES: Final = {
    ".require.conditional_write": get_args(ConditionalWrite),
    ".require.lock_scope": get_args(LockScope),
    ".require.lock_release": get_args(LockRelease),
    ".require.fresh": get_args(Fresh),
    ".require.watch": get_args(Watch),
}
_TOML: Final = {
    "`str | object | null`": "text, or a table with keyring, env or file",
    "`str | null`": "text",
    "`str`": "text",
    "`object`": "a table",
    "`array | null`": "a list",
    "`array`": "a list",
    "`bool`": "true or false",
    "`int`": "a number",
    "`float`": "a number",
}


def refused_setting(path: str, table: str, error: msgspec.ValidationError) -> ConfigError:
    """The error with the file, the key and what was expected there.

    Args:
        path: The file.
        table: The entry's name in it: ``stores.NAME``.
        error: Of the conversion to a `StoreEntry`.
    """
    cause = error.__cause__
    if isinstance(cause, LocationError):
        field = f"{table}.url"
        return ConfigError(f"{field} is wrong: {cause.message}", field=field, location=path, hint=cause.hint)
    # "Expected `str`, got `int` - at `$.url`": the text names types and keys, and no value but one for a guarantee.
    what, _, where = str(error).partition(" - at `$")
    where = where.rstrip("`")
    field = f"{table}{where}"
    hint = None
    if "unknown field" in what:
        field = f"{field}.{what.split('`')[1]}"
        message, hint = f"{field} is unknown", f"Expected: {', '.join(_FIELDS.get(where, ()))}."
    elif "missing required field" in what:
        field = f"{field}.{what.split('`')[1]}"
        message, hint = f"{field} is missing", "Give a URL (scheme://host/path) or an absolute path."
    elif where in _CHOICES:
        message = f"{field} is wrong"
        hint = f"Expected: {', '.join(map(repr, _CHOICES[where]))}."
    else:
        for written, meant in _TOML.items():
            what = what.replace(written, meant)
        message = f"{field} is wrong: {what[:1].lower()}{what[1:]}"
    return ConfigError(message, field=field, location=path, hint=hint)
