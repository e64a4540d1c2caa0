"""The source of a password: a keyring, an environment variable or a file, and not the configuration itself."""

from __future__ import annotations

import os
import stat
from typing import Final

import msgspec

from exlab_store.errors import ConfigError
from exlab_store.first_imports import import_whole
from exlab_store.installing import how_to_install
from exlab_store.secret import Secret, without_variables
from exlab_store.signal_handlers import came_from_signal_handler
from exlab_store.small_files import UnreadableFile, read_small_file

__all__ = ["SecretSource"]

# No password is longer; a file that is, is another file.
_LONGEST: Final = 4096


class SecretSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names the place of a password: exactly one of keyring, env and file.

    Attributes:
        keyring: The service's name in the operating system's keyring.
        user: The account's name in the keyring; the store's user name unless given.
        env: The name of an environment variable.
        file: The path of a file. In a configuration, ``~`` is the home folder, and a relative path begins at the
            folder of the configuration.

    One line break at the end of a variable or a file is left out.
    """

    keyring: str | None = None
    user: str | None = None
    env: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("keyring", "env", "file") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("exactly one of `keyring`, `env` and `file` must be given")
        for name in (*given, "user"):
            if getattr(self, name) == "":
                raise ValueError(f"`{name}` is empty")
        if self.user is not None and self.keyring is None:
            raise ValueError("`user` belongs to `keyring`")

    def __str__(self) -> str:
        if self.keyring is not None:
            return f"keyring {self.keyring!r}"
        return f"environment variable {self.env}" if self.env is not None else f"file {self.file}"

    @property
    def warning(self) -> str | None:
        """What the keeper of the secret should know, or None."""
        if self.file is None or os.name == "nt":
            return None
        try:
            mode = os.stat(self.file).st_mode
        except (OSError, ValueError) as error:
            if came_from_signal_handler(error):
                raise
            return None  # to fetch the password will say so
        if not stat.S_ISREG(mode) or not mode & stat.S_IROTH:
            return None
        return f"every account of this machine may read its password's file {self.file}; chmod o-r takes that away"

    @without_variables
    def fetch(self, username: str | None) -> Secret:
        """The password, as it is there now.

        Args:
            username: The store's user name, for a keyring entry without one of its own.

        Raises:
            ConfigError: It is not there.
        """
        if self.keyring is not None:
            return _from_keyring(self.keyring, self.user or username)
        return _from_environment(self.env) if self.env is not None else _from_file(str(self.file))


def _from_environment(name: str) -> Secret:
    if name not in os.environ:
        raise ConfigError(
            f"the environment variable {name} is not set", field="password", hint=f"Set {name} to the password."
        )
    return _one_line(Secret(os.environ[name]), f"the environment variable {name}")


def _from_file(path: str) -> Secret:
    cause: BaseException | None = None
    try:
        content = Secret(read_small_file(path, 4 * _LONGEST).decode("utf-8-sig"))
    except UnreadableFile as error:
        reason, cause = error.reason, error.__cause__
    except UnicodeDecodeError as error:
        if came_from_signal_handler(error):
            raise
        reason = "it is not UTF-8"
    else:
        return _one_line(content, f"the password's file {path}")
    # Out here, as a decoder's error, which would be its context, holds the bytes.
    raise ConfigError(
        f"the password's file {path} cannot be read: {reason}",
        field="password",
        hint="Put the password into that file, readable for this account only.",
    ) from cause


def _one_line(content: Secret, where: str) -> Secret:
    content = Secret(content.reveal().removesuffix("\n").removesuffix("\r"))
    length = len(content.reveal())
    if 0 < length <= _LONGEST and not {"\n", "\r", "\0"} & set(content.reveal()):
        return content
    raise ConfigError(
        f"{where} is {'longer than a line' if length else 'empty'}",
        field="password",
        hint="It must hold the password, and nothing else.",
    )


def _from_keyring(service: str, user: str | None) -> Secret:
    if user is None:
        raise ConfigError(
            f"the keyring entry {service!r} needs a user", field="password", hint="Add user = ... beside keyring = ..."
        )
    password = _asked(service, user)
    if password is None:
        raise ConfigError(
            f"the keyring has no password of {user!r} for {service!r}",
            field="password",
            hint=f"Run: keyring set {service} {user}",
        )
    return password


def _asked(service: str, user: str) -> Secret | None:
    import_whole("keyring", "keyring.backends.fail", "keyring.backends.null")
    try:
        import keyring
        from keyring.backends import fail, null

        chosen = keyring.get_keyring()
        absent = isinstance(chosen, (fail.Keyring, null.Keyring))
        if not absent:
            return _secret(chosen.get_password(service, user))
    except Exception as error:  # its backends talk to services of the system, and raise what those do
        if came_from_signal_handler(error):
            raise
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "keyring":
            raise ConfigError(
                "the password is in a keyring, and the package keyring is not installed",
                field="password",
                hint=how_to_install("exlab-store[keyring]"),
            ) from error
        raise _broken(error) from error
    raise ConfigError(
        "the password is in a keyring, and this machine has none",
        field="password",
        hint="Set up a keyring, or keep the password in a file or in the environment.",
    )


def _secret(text: str | None) -> Secret | None:
    return Secret(text) if text else None


def _broken(error: Exception) -> ConfigError:
    return ConfigError(
        f"the keyring cannot be read: {type(error).__name__}: {error}",
        field="password",
        hint="Unlock the keyring, or look at how it is set up: keyring diagnose.",
    )
