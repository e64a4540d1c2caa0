"""DFS namespaces: a folder of one server that is a link to a folder of another [MS-DFSC].

The server of the namespace says where a link leads: its answer is signed or encrypted, as all of that session is. The
store is then opened there, with the same account and port: a referral names no port. So a lock is the target's, and two
ways to one folder exclude each other.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec.structs import replace
from smbprotocol import exceptions as smb
from smbprotocol.dfs import DFSReferralRequest, DFSReferralResponse
from smbprotocol.ioctl import CtlCode, IOCTLFlags, SMB2IOCTLRequest, SMB2IOCTLResponse

from exlab_store import AccessDenied, BackendUnavailable, LocationError, StoreError, came_from_signal_handler
from exlab_store_smb.session.logon import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_smb.session.options import SmbOptions
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["Target", "follow", "leads_elsewhere"]

_T = TypeVar("_T")

_log = logging.getLogger("exlab_store_smb")

_MOST_PLACES: Final = 8  # folders that are tried for one location: two links may lead to each other
_LARGEST: Final = 56 * 1024  # bytes of an answer, as Windows asks for


class _LeadsElsewhere(AccessDenied):
    """The folder is on another server; a caller that does not follow it is refused."""


@dataclass(frozen=True, slots=True)
class Target:
    """A folder of a share.

    Attributes:
        host: The server.
        share: The share.
        folder: ``/``-separated; empty text for the share itself.
    """

    host: str
    share: str
    folder: str

    def below(self, folder: str) -> Target:
        """A folder below this one."""
        return Target(self.host, self.share, "/".join(part for part in (self.folder, folder) if part))

    def __str__(self) -> str:
        return "\\\\" + "\\".join(part for part in (self.host, self.share, *self.folder.split("/")) if part)


def leads_elsewhere() -> AccessDenied:
    """The error for STATUS_PATH_NOT_COVERED: `follow` acts on it."""
    return _LeadsElsewhere(
        "the folder is on another server of a DFS namespace",
        hint="Give that server and share as the location.",
    )


def follow(target: Target, options: SmbOptions, opened: Callable[[Target], _T], deadline: Deadline) -> _T:
    """Opens a folder, and where that is a link of a namespace, the first of its targets that can be opened.

    Args:
        target: The folder.
        options: The account and the port, which hold for all servers.
        opened: Opens a folder.
        deadline: Until when to try one more.

    Raises:
        StoreError: As ``opened`` does; of several targets, the error of the first.
        LocationError: The links form a circle, or the server does not say where one leads.
    """
    return _follow(target, options, opened, deadline, set())


def _follow(
    target: Target, options: SmbOptions, opened: Callable[[Target], _T], deadline: Deadline, tried: set[Target]
) -> _T:
    if target in tried or len(tried) >= _MOST_PLACES:
        raise LocationError(
            f"the links of the DFS namespace come to no end at {target}", hint="Correct the targets of the links."
        )
    tried.add(target)
    try:
        return opened(target)
    except _LeadsElsewhere:
        referred = _referred(target, options, deadline)
    except LocationError as error:
        if not isinstance(error.__cause__, smb.BadNetworkName):
            raise
        # The namespace of a domain is no share of the domain's own server [MS-DFSC 3.1.4.1]: that knows where it is.
        try:
            roots = _referred(Target(target.host, target.share, ""), options, deadline)
        except StoreError:
            raise error from error.__cause__
        referred = [root.below(target.folder) for root in roots]
    failure: StoreError | None = None
    for each in referred:
        if failure is not None and deadline.over:
            break
        try:
            return _follow(each, options, opened, deadline, tried)
        except (BackendUnavailable, LocationError) as error:  # not AccessDenied: a password is not tried again
            _log.warning("%s leads to %s, which cannot be opened: %s", target, each, error.sentence)
            if failure is None:
                failure = error
                error.hint = f"{error.hint} The DFS link {target} leads to {each}."
    assert failure is not None  # noqa: S101  # there is a target, or _referred has raised
    raise failure


def _referred(target: Target, options: SmbOptions, deadline: Deadline) -> list[Target]:
    """Asks the server where a folder is [MS-DFSC 3.1.4.2]; at least one target, in its order."""
    path = "\\" + "\\".join(part for part in (target.host, target.share, *target.folder.split("/")) if part)
    link = connect(replace(options, host=target.host), "IPC$", uuid.uuid4(), 0, deadline)
    try:
        answer = _asked(link.connection, link.session_id, link.tree_id, path, deadline)
    except smb.SMBResponseException as error:
        raise LocationError(
            f"the server does not say where the DFS link {target} leads ({int(error.status):#010x})",
            hint="Look at the link on the server of the namespace.",
        ) from error
    except smb.SMBException as error:
        raise BackendUnavailable(
            f"the server did not say where the DFS link {target} leads: {error}", hint="Look at that server."
        ) from error
    finally:
        link.close(deadline)
    try:
        found = _targets(answer, path)
    except Exception as error:  # smbprotocol's structures raise errors of any type
        if came_from_signal_handler(error):
            raise
        raise BackendUnavailable(
            f"the server's answer to where the DFS link {target} leads makes no sense: {error}",
            hint="Look at the link on the server of the namespace.",
        ) from error
    if not found:
        raise LocationError(f"the DFS link {target} leads nowhere", hint="Give the link a target.")
    return found


def _asked(connection: Any, session_id: int, tree_id: int, path: str, deadline: Deadline) -> bytes:
    question: Any = DFSReferralRequest()
    question["request_file_name"] = path
    request: Any = SMB2IOCTLRequest()
    request["ctl_code"] = CtlCode.FSCTL_DFS_GET_REFERRALS
    request["file_id"] = b"\xff" * 16
    request["max_output_response"] = _LARGEST
    request["flags"] = IOCTLFlags.SMB2_0_IOCTL_IS_FSCTL
    request["buffer"] = question
    sent = connection.send(request, sid=session_id, tid=tree_id)
    response = connection.receive(sent, timeout=deadline.half().remaining())
    answer: Any = SMB2IOCTLResponse()
    with suppress(StopIteration):
        answer.unpack(response["data"].get_value())
    found: bytes = answer["buffer"].get_value()
    return found


def _targets(answer: bytes, path: str) -> list[Target]:
    referral: Any = DFSReferralResponse()
    referral.unpack(answer)
    consumed = referral["path_consumed"].get_value() // 2  # bytes of UTF-16
    rest = path[consumed:]
    if consumed > len(path) or rest[:1] not in {"", "\\"}:
        raise ValueError("it consumes a part of a name")
    found: list[Target] = []
    for entry in referral["referral_entries"].get_value()[:_MOST_PLACES]:
        parts = [part for part in f"{entry.network_address or ''}{rest}".split("\\") if part]
        if len(parts) < 2 or {".", ".."} & set(parts) or any("/" in part for part in parts):
            raise ValueError("a target is no folder of a share")
        found.append(Target(parts[0], parts[1], "/".join(parts[2:])))
    return found
