"""Where a password is kept, outside of the configuration that needs it."""

from __future__ import annotations

import os

import msgspec

from exlab_store.errors import ConfigError

__all__ = ["SecretSource"]


class SecretSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names the place of a password: exactly one of keyring, env and file.

    Attributes:
        keyring: The service's name in the operating system's keyring.
        user: The account's name in the keyring; the store's user name unless given.
        env: The name of an environment variable.
        file: The path of a file; one line break at its end is left out.
    """

    keyring: str | None = None
    user: str | None = None
    env: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("keyring", "env", "file") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("exactly one of `keyring`, `env` and `file` must be given")
        if self.user is not None and self.keyring is None:
            raise ValueError("`user` belongs to `keyring`")

    def __str__(self) -> str:
        if self.keyring is not None:
            return f"keyring {self.keyring!r}"
        return f"environment variable {self.env}" if self.env is not None else f"file {self.file}"

    def fetch(self, username: str | None) -> str:
        """The password, as it is there now.

        Args:
            username: The store's user name, for a keyring entry without one of its own.

        Raises:
            ConfigError: It is not there.
        """
        if self.keyring is not None:
            return _from_keyring(self.keyring, self.user or username)
        return _from_environment(self.env) if self.env is not None else _from_file(str(self.file))


def _from_environment(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(
            f"the environment variable {name} is {'not set' if value is None else 'empty'}",
            field="password",
            hint=f"Set {name} to the password.",
        )
    return value


def _from_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"the password's file {path} cannot be read: {reason}",
            field="password",
            hint="Put the password into that file, readable for this account only.",
        ) from error
    if not text or "\n" in text:
        raise ConfigError(
            f"the password's file {path} is {'empty' if not text else 'longer than one line'}",
            field="password",
            hint="Put the password into that file, and nothing else.",
        )
    return text


def _from_keyring(service: str, user: str | None) -> str:
    if user is None:
        raise ConfigError(
            f"the keyring entry {service!r} needs a user", field="password", hint="Add user = ... beside keyring = ..."
        )
    try:
        import keyring
        from keyring.backends import fail, null
        from keyring.errors import KeyringError
    except ImportError as error:
        raise ConfigError(
            "the password is in a keyring, and the package keyring is not installed",
            field="password",
            hint="pip install 'exlab-store[keyring]'",
        ) from error
    if isinstance(keyring.get_keyring(), (fail.Keyring, null.Keyring)):
        raise ConfigError(
            "the password is in a keyring, and this machine has none",
            field="password",
            hint="Set up a keyring, or keep the password in a file or in the environment.",
        )
    try:
        password = keyring.get_password(service, user)
    except KeyringError as error:
        raise ConfigError(
            f"the keyring cannot be read: {type(error).__name__}", field="password", hint="Unlock the keyring."
        ) from error
    if not password:
        raise ConfigError(
            f"the keyring has no password of {user!r} for {service!r}",
            field="password",
            hint=f"Run: keyring set {service} {user}",
        )
    return password
