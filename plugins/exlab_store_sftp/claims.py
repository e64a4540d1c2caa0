"""What a server gives, by what it has shown; and for what it does not, the setting that is to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from exlab_store import Guarantees

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exlab_store_sftp.server_shell import Welcome

__all__ = ["ServerClaims", "claims_of"]

# As GNU `stat -f --format=%T` calls them. What is in none of these sets is unknown: FUSE, where the name tells nothing,
# and vfat and exfat, whose rename can lose both documents in a power cut.
_LOCAL: Final = frozenset("bcachefs btrfs ext2/ext3 f2fs jfs overlayfs xfs zfs".split())
_VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
_ON_ANOTHER_SERVER: Final = frozenset("ceph gfs/gfs2 lustre nfs ocfs2".split())
_SMB: Final = frozenset("cifs smb smb2".split())

_OF_A_SHELL: Final[tuple[str, ...]] = ("durable", "conditional_write", "lock_scope", "fenced", "fresh")
_OF_A_DISK: Final[tuple[str, ...]] = ("atomic_replace", "durable", "fenced", "fresh")


class ServerClaims(NamedTuple):
    """The guarantees, and the reasons for those that are missing.

    Attributes:
        guarantees: Of the store.
        replaces: The server can replace a document.
        unclaimed: Why a guarantee is missing, and what to change on the server for it, by the guarantee's name.
    """

    guarantees: Guarantees
    replaces: bool
    unclaimed: Mapping[str, str]


def claims_of(welcome: Welcome | None, *, replaces: bool, why_no_shell: str, remedy: str) -> ServerClaims:
    """The guarantees of one store.

    Args:
        welcome: What the process on the server has said; None where there is none.
        replaces: The server offers posix-rename@openssh.com.
        why_no_shell: Why there is none.
        remedy: What to change for that.
    """
    if welcome is not None and welcome.missing:
        lacking = ", ".join(name.replace("-", " ") for name in welcome.missing)
        why_no_shell = f"the server's shell lacks {lacking}"
        remedy = "install GNU coreutils and util-linux there"
        welcome = None
    if welcome is None:
        reason = f"{why_no_shell}, so nothing on the server can hold a lock or synchronise a folder: {remedy}"
        unclaimed: dict[str, str] = dict.fromkeys(_OF_A_SHELL, reason)
        if not replaces:
            unclaimed["atomic_replace"] = "the server lacks posix-rename@openssh.com: use the SFTP server of OpenSSH"
        return ServerClaims(Guarantees(atomic_replace=replaces, lists=True, deletes=True), replaces, unclaimed)
    kind = welcome.kind
    of_one_kernel = kind in _LOCAL or kind in _VOLATILE
    guarantees = Guarantees(
        atomic_replace=kind not in _SMB,
        durable=kind in _LOCAL or kind in _ON_ANOTHER_SERVER,
        conditional_write="locked",
        lock_scope="site",
        lock_release="crash",
        # A network file system can lose a lock behind its holder's back; a local kernel cannot.
        fenced=of_one_kernel,
        lists=True,
        deletes=True,
        fresh="always" if of_one_kernel else "none",
    )
    reason = (
        f"the folder is on a file system of the kind {kind!r} there: keep it on a disk of the server, with ext4 or xfs"
    )
    missing = [name for name in _OF_A_DISK if getattr(guarantees, name) in {False, "none"}]
    return ServerClaims(guarantees, replaces=True, unclaimed=dict.fromkeys(missing, reason))
