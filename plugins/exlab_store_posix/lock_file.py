"""The file ``<name>.lock``: every account that may add documents to its folder can open it.

It keeps the owner's record, and sometimes it is not ours to write into: ``filelock.ReadWriteLock`` keeps an SQLite
database under the same name.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from exlab_store import AccessDenied, BackendUnavailable, came_from_signal_handler, suppress_unless_signalled
from exlab_store.backend import mode_at
from exlab_store_posix import acl
from exlab_store_posix.acl import AclEntry, Tag
from exlab_store_posix.descriptors import open_into
from exlab_store_posix.system import calls

if TYPE_CHECKING:
    from exlab_store_posix.mounts import FileSystem

__all__ = [
    "OPEN",
    "OPEN_ALONE",
    "REMOVE",
    "SMALLEST_PAGE",
    "excluded_from",
    "guards_still",
    "is_database",
    "open_lock_file",
    "refuse_what_is_no_lock_file",
    "shown_account",
    "stands_at",
]

OPEN: Final = (
    os.O_RDWR
    | getattr(calls, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    # Neither a FIFO nor a lease that somebody planted may hold up the open.
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)
OPEN_ALONE: Final = OPEN & ~os.O_RDWR | os.O_WRONLY | getattr(os, "O_DIRECT", 0)
"""The same on an SMB mount, whose client gives one handle to all who open a path for reading with the same flags.

What one of them unlocks and closes then, it unlocks for the next one who has taken the lock meanwhile (measured with a
kernel 6.1: another client got the lock that was held). A file that is open for writing alone is not shared.
"""
REMOVE: Final = "Remove what stands at the name of the document with .lock behind it, and find out who put it there."

_WRITE: Final = 0o2
_READ_AND_WRITE: Final = 0o6
SMALLEST_PAGE: Final = 512
_DATABASE: Final = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html, 1.3


def open_lock_file(path: str, opened: list[int], flags: int = OPEN) -> bool:
    """Opens a lock file, or makes it.

    Args:
        path: The lock file; its folder exists.
        opened: Gets a descriptor.
        flags: `OPEN` or `OPEN_ALONE`.

    Returns:
        Whether the file was made.

    Raises:
        AccessDenied: This account may not write the lock file, or what stands there is none.
        BackendUnavailable: The file appears and vanishes.
        OSError: From open.
    """
    # The file is there but for the first time. Asking for O_CREAT at once would be refused in a sticky directory
    # when the file is another account's (sysctl fs.protected_regular).
    for _ in range(100):
        try:
            open_into(opened, path, flags)
        except FileNotFoundError:
            pass
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            if error.errno in (errno.EISDIR, errno.ENXIO):
                raise AccessDenied(
                    "what stands at the lock's name is not a file", errno=error.errno, hint=REMOVE
                ) from error
            if error.errno == errno.EACCES:
                refusal = _not_ours(path, error)
                if refusal is not None:
                    raise refusal from error
            if error.errno == errno.ELOOP and stat.S_ISLNK(mode_at(path, follow_symlinks=False)):
                raise AccessDenied(
                    "what stands at the lock's name is a symbolic link, which is not followed",
                    errno=error.errno,
                    hint=REMOVE,
                ) from error
            if error.errno == errno.EPERM:
                raise AccessDenied(
                    f"the lock file {os.path.basename(path)} may not be written",
                    errno=error.errno,
                    hint="It may be marked immutable: lsattr shows that, and chattr -i, by root, takes the mark away.",
                ) from error
            raise
        else:
            return False
        try:
            descriptor = open_into(opened, path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        _let_all_in(descriptor, path)
        return True
    raise BackendUnavailable("the lock file appears and vanishes", hint="Find out what deletes lock files.")


def _not_ours(path: str, error: OSError) -> AccessDenied | None:
    """The error for a lock file that somebody else has made so that this account may not write it."""
    try:
        status = os.lstat(path)
    except OSError as unseen:
        if came_from_signal_handler(unseen):
            raise
        return None  # the folder itself may not be entered
    name = os.path.basename(path)
    owner, group = shown_account("user", status.st_uid), shown_account("group", status.st_gid)
    return AccessDenied(
        f"the lock file {name} is closed to this account: it belongs to {owner} and {group}, "
        f"with mode {stat.S_IMODE(status.st_mode):04o}",
        errno=error.errno,
        hint="Have its owner or root give it the owner, the group and the read and write rights of its folder; it is "
        "never deleted.",
    )


if sys.platform == "win32":

    def _let_all_in(descriptor: int, path: str) -> None:
        """Nothing: the folder has given the new file its access control list."""
else:
    from exlab_store_posix.access import hand_over

    def _let_all_in(descriptor: int, path: str) -> None:
        """Gives a new lock file to those who may put documents into its folder, whatever the maker's umask is.

        The folder's owner and group first, as far as the maker may give the file away; for everybody else who is left,
        an access control list. Whoever cannot be let in is told so by `_not_ours`.
        """
        with suppress_unless_signalled(OSError):
            directory = os.path.dirname(path)
            folder = os.stat(directory)
            hand_over(descriptor, folder, os.fstat(descriptor))
            made = os.fstat(descriptor)
            rules = _Rules.of(directory, folder)
            group, others = rules.of_group(made.st_gid) & _READ_AND_WRITE, rules.others & _READ_AND_WRITE
            owner = rules.users.get(made.st_uid, _READ_AND_WRITE) & _READ_AND_WRITE
            os.fchmod(descriptor, owner << 6 | group << 3 | others)
            named = [
                *(
                    (Tag.USER, rights, number)
                    for number, rights in rules.users.items()
                    if number not in {0, made.st_uid}
                ),
                *((Tag.GROUP, rights, number) for number, rights in rules.groups.items() if number != made.st_gid),
            ]
            entries = [AclEntry(tag, rights & _READ_AND_WRITE, number) for tag, rights, number in named]
            if sys.platform == "linux" and any(entry.rights for entry in entries):
                own = [AclEntry(Tag.OWNER, owner), AclEntry(Tag.OWNING_GROUP, group), AclEntry(Tag.OTHER, others)]
                os.setxattr(
                    descriptor, acl.ATTRIBUTE, acl.packed([*own, *entries, AclEntry(Tag.MASK, _READ_AND_WRITE)])
                )
            elif sys.platform == "linux":  # what the folder's default list has given, which may give the group less
                os.removexattr(descriptor, acl.ATTRIBUTE)


class _Rules(NamedTuple):
    """Who may do what with a file or a folder.

    Attributes:
        users: Rights of the owner and of those who are named, by number.
        groups: The same of groups.
        others: Rights of everybody else.
    """

    users: dict[int, int]
    groups: dict[int, int]
    others: int

    @classmethod
    def of(cls, path: str | int, status: os.stat_result) -> _Rules:
        """Reads them."""
        entries = acl.entries_of(path, status.st_mode)
        mask = next((entry.rights for entry in entries if entry.tag is Tag.MASK), 0o7)
        rules = cls({}, {}, next(entry.rights for entry in entries if entry.tag is Tag.OTHER))
        for tag, rights, number in entries:
            if tag is Tag.OWNER:
                rules.users[status.st_uid] = rights
            elif tag is Tag.USER:
                rules.users.setdefault(number, rights & mask)
            elif tag is Tag.OWNING_GROUP:
                rules.groups[status.st_gid] = rights & mask
            elif tag is Tag.GROUP:
                rules.groups[number] = rules.groups.get(number, 0) | rights & mask
        return rules

    def of_group(self, number: int) -> int:
        """Rights of the members of a group."""
        return self.groups.get(number, self.others)

    def of_user(self, number: int) -> int:
        """Rights of a user, who is a member of the groups that this machine knows of."""
        if number in self.users:
            return self.users[number]
        groups = [group for group in _groups_of(number) if group in self.groups]
        rights = 0
        for group in groups:
            rights |= self.groups[group]
        return rights if groups else self.others


def excluded_from(path: str) -> list[str]:
    """Who may put documents into a folder and cannot lock them there, as somebody else's lock file is in the way.

    Args:
        path: The lock file.

    Returns:
        Their names, for a person to read; none where everybody is let in.
    """
    if os.name == "nt":
        return []
    try:
        directory = os.path.dirname(path)
        folder, lock = _Rules.of(directory, os.stat(directory)), _Rules.of(path, os.lstat(path))
    except OSError as error:
        if came_from_signal_handler(error):
            raise
        return []
    shut_out = [
        *(
            shown_account("user", number)
            for number in folder.users
            if number and _shut(folder.users[number], lock.of_user(number))
        ),
        *(
            shown_account("group", number)
            for number in folder.groups
            if _shut(folder.groups[number], lock.of_group(number))
        ),
    ]
    return [*shut_out, "everybody else"] if _shut(folder.others, lock.others) else shut_out


def _shut(in_folder: int, in_lock: int) -> bool:
    return bool(in_folder & _WRITE) and in_lock & _READ_AND_WRITE != _READ_AND_WRITE


def is_database(descriptor: int, size: int) -> bool:
    """Whether a lock file is an SQLite database, so that nothing of ours may be written into it.

    An empty file is one too, as ``filelock.ReadWriteLock`` never writes a page: then its locks tell.

    Args:
        descriptor: Of the lock file.
        size: Its size in bytes.
    """
    if size == 0:
        return _sqlite_has_locked(descriptor)
    if size < SMALLEST_PAGE:  # a record of ours is shorter, unless its purpose is a long one
        return False
    # Behind byte 0, which nobody can read who has not locked it, on a share.
    os.lseek(descriptor, 1, os.SEEK_SET)
    return os.read(descriptor, len(_DATABASE) - 1) == _DATABASE[1:]


if sys.platform == "linux":
    import fcntl

    _FLOCK: Final = "@hhqqi4x"  # struct flock, fcntl(2)
    _ASK: Final = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0x40000000, 512, 0)  # SQLite's PENDING_BYTE and on

    def _sqlite_has_locked(descriptor: int) -> bool:
        try:
            answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _ASK)
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            return True  # nobody can tell
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
else:

    def _sqlite_has_locked(descriptor: int) -> bool:  # noqa: ARG001
        return False


if sys.platform == "win32":

    def shown_account(kind: str, number: int) -> str:
        """A user or a group, for a person to read."""
        return f"{kind} {number}"

    def _groups_of(number: int) -> list[int]:  # noqa: ARG001
        return []
else:
    import grp
    import pwd

    def shown_account(kind: str, number: int) -> str:
        """A user or a group, for a person to read.

        Args:
            kind: ``user`` or ``group``.
            number: The user's or the group's.
        """
        try:
            name = pwd.getpwuid(number).pw_name if kind == "user" else grp.getgrgid(number).gr_name
        except KeyError:
            name = str(number)
        return f"{kind} {name}"

    def _groups_of(number: int) -> list[int]:
        try:
            account = pwd.getpwuid(number)
        except KeyError:
            return []
        return os.getgrouplist(account.pw_name, account.pw_gid)


def guards_still(path: str, descriptor: int, kind: FileSystem, status: os.stat_result, *, waited: bool) -> bool:
    """Whether a locked file has its name still: who deletes a folder unlinks the lock files in it, and frees them.

    Args:
        path: The lock file.
        descriptor: Of the file that is locked.
        kind: The file system that it is on.
        status: Of the file, before it was locked.
        waited: Others held the lock meanwhile: a server may have given the file's number to another one.
    """
    if not waited:
        return os.fstat(descriptor).st_nlink > 0
    return stands_at(path, status if kind.is_of_this_machine else os.fstat(descriptor))


def stands_at(path: str, status: os.stat_result) -> bool:
    """Whether an open file is still the one that others find under its name.

    Args:
        path: The name.
        status: Of the open file.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return found.st_ino == status.st_ino and found.st_dev == status.st_dev


def refuse_what_is_no_lock_file(status: os.stat_result) -> NoReturn:
    """Says why a file is not used as a lock: the owner's record would be written into a linked document or a device.

    Args:
        status: Of the file.

    Raises:
        AccessDenied: Always.
    """
    if stat.S_ISREG(status.st_mode):
        raise AccessDenied("the lock file is a file of another name too (a hard link)", hint=REMOVE)
    raise AccessDenied("what stands at the lock's name is not a file", hint=REMOVE)
