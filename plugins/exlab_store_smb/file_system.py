"""fsspec's ``smb:`` filesystem, over the connection of a store instead of smbclient's pool.

It takes what ``fsspec.filesystem("smb", ...)`` takes: the same URLs, the same options, the same configuration
(``FSSPEC_SMB_HOST``, ``FSSPEC_SMB_USERNAME``, ..., or a file). It lists folders; everything else it can do goes
through smbclient's pool as ever, which it keeps away from: that pool forgets its passwords after a dropped connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from fsspec.implementations.smb import SMBFileSystem

from exlab_store import LocationError, Secret
from exlab_store.backend import ensure_no_mode
from exlab_store_smb.session.options import SmbOptions
from exlab_store_smb.steps.listing import ListingBudget, list_folder
from exlab_store_smb.wire.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exlab_store_smb.session.link import Link

__all__ = ["SmbFileSystem"]

_OWN = frozenset(SmbOptions.__struct_fields__)
# Options of fsspec that say how its pool and its file objects behave: accepted, and without an effect here.
_OF_FSSPEC = frozenset(
    {
        "share_access",
        "register_session_retries",
        "register_session_retry_wait",
        "register_session_retry_factor",
        "auto_mkdir",
        "temppath",
    }
)


class SmbFileSystem(SMBFileSystem):  # type: ignore[misc]
    """The folders of a server.

    Args:
        host: The server's name or address.
        kwargs: The fields of `SmbOptions`, and the options of fsspec's own class.
    """

    protocol = ("smb", "cifs")
    cachable = False  # fsspec would keep it, with its password, for the life of the process

    def __init__(self, host: str = "", **kwargs: Any) -> None:
        if isinstance(kwargs.get("password"), str):
            kwargs["password"] = Secret(kwargs["password"])
        ensure_no_mode(
            kwargs,
            "the server chooses the permissions of documents",
            "Leave mode out, and have the share set them: Samba's 'create mask', say.",
        )
        unknown = sorted(set(kwargs) - _OWN - _OF_FSSPEC)
        if unknown:
            raise LocationError(
                f"an SMB location has no option {', '.join(map(repr, unknown))}",
                hint=f"Known are {', '.join(sorted(_OWN - {'host'}))}.",
            )
        self.options = _options({"host": host, **{name: kwargs[name] for name in kwargs if name in _OWN}})
        super().__init__(
            host,
            port=self.options.port,
            username=self.options.account,
            timeout=int(self.options.timeout),
            encrypt=self.options.encrypt,
            register_session_retries=-1,
        )
        self.link: Link | None = None

    @property
    def storage_options(self) -> dict[str, Any]:
        """Nothing: fsspec puts all options into it, when the object is made, with the password in clear."""
        return {}

    @storage_options.setter
    def storage_options(self, value: object) -> None:
        del value

    def _connect(self) -> None:
        """Does nothing: the store has a connection of its own."""

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """Lists a folder over the store's connection, where fsspec asks for each entry over one of its own.

        Args:
            path: ``/share/folder``.
            detail: Dictionaries with name, type, size, and the time of the last write; otherwise names.
            kwargs: ``deadline`` is a `Deadline`; without it, the time is the store's.

        Raises:
            SMBOSError: The server refuses.
            LinkLost: The connection has ended.
        """
        if self.link is None:
            raise RuntimeError("the store has not connected yet")
        deadline = kwargs.get("deadline") or Deadline(self.options.timeout)
        folder = path.rstrip("/")
        below_share = folder.strip("/").partition("/")[2]
        entries = [
            {
                "name": f"{folder}/{entry.name}",
                "type": entry.kind,
                "size": entry.size,
                "mtime": entry.modified,
            }
            for entry in list_folder(self.link, self.link.path(below_share), ListingBudget(deadline))
        ]
        return entries if detail else [entry["name"] for entry in entries]


def _options(values: Mapping[str, Any]) -> SmbOptions:
    """Typed options; those of fsspec's environment variables are text."""
    try:
        return msgspec.convert(
            {name: value for name, value in values.items() if value is not None}, SmbOptions, strict=False
        )
    except msgspec.ValidationError as error:
        # The text says what was expected and of which option, and never the value.
        raise LocationError(
            f"an option of the SMB location is wrong: {error}", hint="Correct the option, or leave it out."
        ) from None
